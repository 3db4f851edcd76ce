"""What holds across the layers: the lambda property, and one file in each for every family."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from common.config import families
from common.model_store import Generation
from tests.conformance.conftest import Family, events

Build = Callable[..., Generation]
ROOT = Path(__file__).parent.parent.parent


@pytest.mark.integration
def test_batch_then_speed_agrees_with_batch_over_all(family: Family, build: Build) -> None:
    lines = family.sample.lines()
    cut = round(len(lines) * 0.9)
    expected = family.sample.predictions(family.serving(build(lines)))
    generation = build(lines[:cut])
    speed, serving = family.speed(generation), family.serving(generation)
    stale = family.sample.agreement(expected, family.sample.predictions(serving))
    for start in range(cut, len(lines), 7):
        for update in speed.build_updates(events(lines[start : start + 7], start)):
            serving.apply(update)
    found = family.sample.agreement(expected, family.sample.predictions(serving))
    assert found >= family.sample.AGREEMENT, f"{found:.3f}, without the speed layer {stale:.3f}"


@pytest.mark.parametrize("name", families())
def test_a_family_has_a_module_in_every_layer_a_configuration_and_samples(name: str) -> None:
    expected = [
        f"common/apps/{name}.py",
        *(f"{layer}_layer/apps/{name}.py" for layer in ("batch", "speed", "serving")),
        f"conf/{name}.toml",
        f"tests/conformance/families/{name}.py",
    ]
    assert [path for path in expected if not (ROOT / path).is_file()] == []
