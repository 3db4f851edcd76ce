"""The documentation names what there is: routes, files, commands, keys of the configuration."""

from __future__ import annotations

import importlib
import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.__main__ import VERBS
from common.config.keys import Keys
from common.runtime.configuration import load, settings_type
from common.runtime.families import families
from serving_layer.run.app import create_app
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


def said(pattern: str) -> dict[str, str]:
    """What a pattern finds in all pages, and the last page on which."""
    return {
        found: str(page.relative_to(ROOT))
        for page in PAGES
        for found in re.findall(pattern, page.read_text(encoding="utf-8"))
    }


def test_commands_are_there() -> None:
    verbs, modules = said(r"bin/gemsbok ([a-z]+)"), said(r"python -m ([a-z_.]+[a-z])")
    assert len(verbs) > 8
    assert {verb: page for verb, page in verbs.items() if verb not in VERBS} == {}
    assert len(modules) > 20
    absent = {name: page for name, page in modules.items() if not importlib.util.find_spec(name)}
    assert absent == {}


def test_keys_of_the_configuration_are_there() -> None:
    keys = Keys.of(settings_type())
    known = {".".join(path) for path in (*keys.fields, *keys.sections)}
    tables = {path[0] for path in keys.sections}
    named = {key: page for key, page in said(r"`([a-z_]+(?:\.[a-z_]+)+)").items()}
    ours = {key: page for key, page in named.items() if key.partition(".")[0] in tables}
    assert len(ours) > 20
    assert {key: page for key, page in ours.items() if key not in known} == {}
