"""What holds across the layers: the lambda property, and one file in each for every family."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

import pytest

from common.config import ConfigError
from common.runtime.families import families, family_module, has_layer
from common.store.generations import Generation
from tests.conformance.conftest import Family

Build = Callable[..., Generation]
ROOT = Path(__file__).parent.parent.parent


@pytest.mark.integration
@pytest.mark.layers("batch", "speed")
def test_batch_then_speed_agrees_with_batch_over_all(family: Family, build: Build) -> None:
    lines = family.sample.lines()
    cut = round(len(lines) * 0.9)
    expected = family.sample.predictions(family.serving(build(lines)))
    generation = build(lines[:cut])
    speed, serving = family.speed(generation), family.serving(generation)
    stale = family.sample.agreement(expected, family.sample.predictions(serving))
    for start in range(cut, len(lines), 7):
        for update in speed.build_updates(family.events(lines[start : start + 7], start)):
            serving.apply(update)
    found = family.sample.agreement(expected, family.sample.predictions(serving))
    assert found >= family.sample.AGREEMENT, f"{found:.3f}, without the speed layer {stale:.3f}"


@pytest.mark.parametrize("name", families())
def test_a_family_has_a_module_in_its_layers_a_configuration_and_samples(name: str) -> None:
    learns = [has_layer(name, layer) for layer in ("batch", "speed")]
    assert learns in ([True, True], [False, False])
    expected = [f"conf/{name}.toml", f"tests/conformance/families/{name}.py"]
    assert [path for path in expected if not (ROOT / path).is_file()] == []
    found = importlib.util.find_spec(f"serving_layer.apps.{name}")
    assert found is not None


def test_most_families_learn() -> None:
    assert len([name for name in families() if has_layer(name, "batch")]) >= 2
    assert not has_layer("pmml", "batch")
    assert has_layer("a_module.of_ones_own", "batch")
    with pytest.raises(ConfigError, match="no batch layer: it is for serving alone"):
        family_module("pmml", "batch_layer", ("Batch",))
