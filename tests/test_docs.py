"""The documentation names what there is: routes, verbs, files."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from common.config import families, load
from serving_layer.app import create_app
from tests.serving_layer.held import Held

ROOT = Path(__file__).parent.parent
PAGES = sorted(
    [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "benchmarks").glob("*.md")]
)


def routes(app: str) -> Iterator[str]:
    sample = importlib.import_module(f"tests.conformance.families.{app}")
    settings = load(flags={"app": app, **sample.SETTINGS}, environment={})
    for rule in create_app(settings, Held(), None).url_map.iter_rules():
        path = re.sub(r"<(?:\w+:)?(\w+)>", r"<\1>", rule.rule)
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
            yield f"{method} {path}"


@pytest.mark.parametrize("app", families())
def test_every_route_is_documented(app: str) -> None:
    text = (ROOT / "docs" / "endpoints.md").read_text(encoding="utf-8")
    found = list(routes(app))
    assert len(found) > 8
    documented = set(re.findall(r"`((?:GET|POST|DELETE) [^`]+)`", text))
    # The console and a context without items stand in another row's text.
    spoken_of = {"GET /recommendWithContext/<user>/"}
    assert [route for route in found if route not in documented | spoken_of] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        assert (page.parent / target).exists(), target
