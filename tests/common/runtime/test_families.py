"""Families of the user's own: a module with all names, or a package with one module a layer."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from common.config import ConfigError
from common.runtime.configuration import load, settings_type
from common.runtime.families import family_module, input_lines

Write = Callable[[Mapping[str, str]], None]

LAYERS = {
    "batch": ("batch_layer", "Batch"),
    "speed": ("speed_layer", "Speed"),
    "serving": ("serving_layer", "Serving"),
}
COMMON = """
from pydantic import Field
from common.api import InputLines
from common.config import Section

class Settings(Section):
    "Of one's own."

    depth: int = Field(default=2, ge=1, description="How deep.")

class Lines(InputLines):
    def __init__(self, settings):
        self.depth = settings.section("ownfamily").depth

    def read(self, lines): ...
"""
SERVING = "class Serving: ...\ndef blueprint(settings): ...\n"
PACKAGE = {
    "__init__.py": "",
    "common.py": COMMON,
    "batch.py": "class Batch: ...\n",
    "speed.py": "class Speed: ...\n",
    "serving.py": SERVING,
}


def forget() -> None:
    """Drop the family's modules and the settings made of them."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "ownfamily"]:
        del sys.modules[name]
    settings_type.cache_clear()
    importlib.invalidate_caches()


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Write files from which ``ownfamily`` can be imported."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def files(texts: Mapping[str, str]) -> None:
        for name, text in texts.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        forget()

    yield files
    forget()


def package(without: str = "") -> dict[str, str]:
    return {f"ownfamily/{name}": text for name, text in PACKAGE.items() if name != without}


@pytest.mark.parametrize("layer", LAYERS)
def test_a_package_has_a_module_for_each_layer(write: Write, layer: str) -> None:
    write(package())
    room, name = LAYERS[layer]
    found = family_module("ownfamily", room, (name,))
    assert found.__name__ == f"ownfamily.{layer}"
    assert getattr(found, name).__module__ == f"ownfamily.{layer}"


def test_the_settings_and_lines_of_a_package_are_those_of_its_module_common(write: Write) -> None:
    write(package())
    settings = load(flags={"app": "ownfamily", "ownfamily.depth": "3"}, environment={})
    assert settings.section("ownfamily").depth == 3
    lines = input_lines(settings)
    assert type(lines).__module__ == "ownfamily.common"
    assert vars(lines) == {"depth": 3}


def test_a_plain_module_has_the_names_of_all_layers(write: Write) -> None:
    write({"ownfamily.py": "".join(PACKAGE.values())})
    for room, name in LAYERS.values():
        assert family_module("ownfamily", room, (name,)).__name__ == "ownfamily"
    settings = load(flags={"app": "ownfamily"}, environment={})
    assert vars(input_lines(settings)) == {"depth": 2}


def test_a_package_keeps_in_itself_what_has_no_module(write: Write) -> None:
    write({**package(without="speed.py"), "ownfamily/__init__.py": PACKAGE["speed.py"]})
    assert family_module("ownfamily", "speed_layer", ("Speed",)).__name__ == "ownfamily"


def test_the_module_that_lacks_a_name_is_told(write: Write) -> None:
    write({**package(), "ownfamily/serving.py": "class Serving: ...\n"})
    with pytest.raises(ConfigError, match=r"'ownfamily\.serving' lacks blueprint;"):
        family_module("ownfamily", "serving_layer", ("Serving", "blueprint"))


def test_lines_that_lack_a_method_are_told_what_to_derive_from(write: Write) -> None:
    text = COMMON.replace("(InputLines)", "").replace("def read", "def check")
    write({**package(), "ownfamily/common.py": text})
    lacks = r"ownfamily\.common\.Lines lacks keys, read; derive from common\.api\.InputLines"
    with pytest.raises(ConfigError, match=lacks):
        input_lines(load(flags={"app": "ownfamily"}, environment={}))
