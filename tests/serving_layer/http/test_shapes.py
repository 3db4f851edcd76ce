"""Rules that are told by their shape are those that the router would have taken."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as settings_of_hypothesis
from hypothesis import strategies as st
from werkzeug.exceptions import HTTPException
from werkzeug.routing import Map, RequestRedirect, Rule

from common.runtime.configuration import load
from serving_layer.http.paths import use_segments
from serving_layer.http.shapes import Shapes
from serving_layer.run.app import create_app
from tests.serving_layer.held import Held

METHODS = st.sampled_from(["GET", "HEAD", "POST", "DELETE", "OPTIONS"])


def made(*rules: str) -> Map:
    """A router of the serving layer's kind."""
    found = Map()
    use_segments(found)
    for text in rules:
        found.add(Rule(text, endpoint=text, methods=["GET"]))
    return found


def routed(router: Map, path: str, method: str) -> Any:
    """What the router says of a path: rule and arguments, or None."""
    try:
        return router.bind("localhost").match(path, method, return_rule=True)
    except (HTTPException, RequestRedirect):
        return None


@pytest.mark.parametrize(
    ("rules", "told"),
    [
        (["/a", "/a/<x>", "/a/<x>/<y>"], {("a", 1), ("a", 2), ("a", 3)}),
        (["/a/<x>", "/a/all"], set()),
        (["/a/b/<x>", "/a/<x>/b", "/c/d/<x>"], {("c", 3)}),
        (["/a/<segments:x>", "/a", "/b/<x>"], {("a", 1), ("b", 2)}),
        (["/a/<x>/", "/a/<x>", "/b/"], {("a", 3), ("b", 2)}),
        (["/a/b<x>", "/b/<x>"], {("b", 2)}),
        (["/<x>", "/a"], set()),
        (["/" + "/".join("a" * 17)], set()),
    ],
)
def test_a_shape_tells_one_rule_or_none(rules: list[str], told: set[tuple[str, int]]) -> None:
    assert {shape for shape, _ in Shapes(made(*rules).iter_rules())} == told


def test_a_rule_that_goes_by_more_than_the_path_is_left_to_the_router() -> None:
    router = made("/a/<x>")
    router.add(Rule("/b/<x>", endpoint="b", defaults={"y": 1}))
    router.add(Rule("/c", endpoint="c", redirect_to="/b/c"))
    assert [shape for shape, _ in Shapes(router.iter_rules())] == [("a", 2)]


@pytest.mark.parametrize("family", [pytest.param("als", marks=pytest.mark.slow), "wordcount"])
def test_what_is_told_is_what_the_router_says(family: str) -> None:
    settings = load(flags={"app": family}, environment={})
    router = create_app(settings, Held(), None).url_map
    shapes = Shapes(router.iter_rules())
    texts = {part for rule in router.iter_rules() for part in rule.rule.split("/")}
    segment = st.sampled_from([*sorted(texts), "", "a", "%2F", "%3D", "%25", "\u00e9", "."])
    told = []

    @given(path=st.lists(segment, min_size=1, max_size=5).map("/".join), method=METHODS)
    @settings_of_hypothesis(max_examples=400, deadline=None, derandomize=True)
    def check(path: str, method: str) -> None:
        found = shapes.match("/" + path, method)
        if found is not None:
            told.append(found)
            assert found == routed(router, "/" + path, method)

    check()
    assert told


def test_each_rule_that_is_told_is_found_by_its_own_path() -> None:
    router = made("/a", "/a/<x>", "/a/<x>/b/<y>", "/c/")
    shapes = Shapes(router.iter_rules())
    for path in ("/a", "/a/1%2F2", "/a/1/b/%C3%A9", "/c/"):
        found = shapes.match(path, "GET")
        assert found is not None
        assert found == routed(router, path, "GET")
    for path in ("/a/", "/a/1/c/2", "/a//b/1", "/c", "", "/d"):
        assert shapes.match(path, "GET") is None
    assert shapes.match("/a", "POST") is None
