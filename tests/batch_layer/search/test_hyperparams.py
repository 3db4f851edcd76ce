"""Hyperparameters: Oryx's rules for ranges, and combinations that the seed alone decides."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from batch_layer.search.hyperparams import (
    MAX_COMBINATIONS,
    Around,
    combinations,
    values_in,
    values_of,
)
from common.apps.als.settings import Hyperparams
from common.config import ConfigError


@pytest.mark.parametrize(
    ("setting", "count", "expected"),
    [
        (1, 3, [1]),
        ("gini", 2, ["gini"]),
        ([3.0, 5.0], 1, [4.0]),
        ([3.0, 5.0], 2, [3.0, 5.0]),
        ([0, 1.0], 3, [0.0, 0.5, 1.0]),
        ([3, 4], 1, [3]),
        ([3, 4], 9, [3, 4]),
        ([2, 10], 3, [2, 6, 10]),
        ([7, 7], 4, [7]),
        ([1.5, 1.5], 4, [1.5]),
        (["entropy", "gini"], 1, ["entropy"]),
        ([True, False], 9, [True, False]),
        ([1, 2, 4], 2, [1, 2]),
        ({"around": -3, "step": 10}, 1, [-3]),
        ({"around": -3, "step": 10}, 3, [-13, -3, 7]),
        ({"around": 5, "step": 0.5}, 2, [4.75, 5.25]),
        ({"around": 5, "step": 1}, 2, [5, 6]),
    ],
)
def test_trial_values(setting: Any, count: int, expected: list[Any]) -> None:
    trial = list(values_of("p", setting).trial(count))
    assert trial == expected
    assert [type(value) for value in trial] == [type(value) for value in expected]


def test_around_never_leaves_what_works() -> None:
    values = values_of("als.hyperparams.features", {"around": 2, "step": 2}, minimum=1)
    assert list(values.trial(4)) == [1, 3, 5, 7]
    random = np.random.default_rng(1)
    drawn = [values.draw(random) for _ in range(200)]
    assert min(drawn) == 1
    assert all(isinstance(value, int) for value in drawn)


def test_what_a_setting_allows_bounds_its_search() -> None:
    around = {"around": 1, "step": 1}
    given = Hyperparams.model_validate({"features": around, "lambda": around, "alpha": around})
    found = values_in("als.hyperparams", given, ["features", "regularization", "alpha"])
    assert found == {
        "features": Around(1, 1, minimum=1),
        "lambda": Around(1, 1, minimum=0),
        "alpha": Around(1, 1, minimum=1e-12),
    }


def test_grid_of_oryx() -> None:
    ranges = {
        "fixed": values_of("fixed", 1),
        "range": values_of("range", [2, 10]),
        "around": values_of("around", {"around": 5, "step": 0.5}),
    }
    chosen = combinations(ranges, 4, "grid", seed=1)
    assert {(c["fixed"], c["range"], c["around"]) for c in chosen} == {
        (1, 2, 4.75),
        (1, 2, 5.25),
        (1, 10, 4.75),
        (1, 10, 5.25),
    }
    assert len(chosen) == 4


def test_grid_is_shuffled_before_it_is_cut() -> None:
    ranges = {"a": values_of("a", [0, 9]), "b": values_of("b", [0, 9])}
    whole = combinations(ranges, 100, "grid", seed=3)
    part = combinations(ranges, 90, "grid", seed=3)
    assert len({(c["a"], c["b"]) for c in whole}) == 100
    assert part == whole[:90]
    assert [c["a"] for c in whole] != sorted(c["a"] for c in whole)


def test_grid_that_is_exhausted_is_smaller() -> None:
    assert len(combinations({"a": values_of("a", [1, 3])}, 50, "grid", seed=1)) == 3
    assert combinations({}, 5, "grid", seed=1) == [{}]
    with pytest.raises(ConfigError, match=str(MAX_COMBINATIONS)):
        combinations({}, MAX_COMBINATIONS + 1, "grid", seed=1)


def test_random_search_covers_its_ranges() -> None:
    ranges = {
        "whole": values_of("whole", [1, 4]),
        "real": values_of("real", [0.5, 1.5]),
        "either": values_of("either", ["a", "b", "c"]),
        "near": values_of("near", {"around": 10.0, "step": 2.0}),
    }
    chosen = combinations(ranges, 400, "random", seed=7)
    assert len(chosen) == 400
    assert {c["whole"] for c in chosen} == {1, 2, 3, 4}
    assert {c["either"] for c in chosen} == {"a", "b", "c"}
    assert all(0.5 <= c["real"] <= 1.5 for c in chosen)
    near = np.array([c["near"] for c in chosen])
    assert abs(near.mean() - 10) < 0.5
    assert 1.6 < near.std() < 2.4


def test_seed_decides() -> None:
    ranges = {"real": values_of("real", [0.0, 1.0])}
    first = combinations(ranges, 5, "random", seed=1)
    assert first == combinations(ranges, 5, "random", seed=1)
    assert first != combinations(ranges, 5, "random", seed=2)


def test_fixed_values_are_one_combination() -> None:
    ranges = {"features": values_of("features", 10), "alpha": values_of("alpha", 1.0)}
    assert combinations(ranges, 5, "random", seed=1) == [{"features": 10, "alpha": 1.0}]


@pytest.mark.parametrize(
    "setting",
    [
        [],
        [5, 2],
        0,
        [0, 5],
        {"around": 0, "step": 1},
        {"around": 5},
        {"around": 5, "step": 0},
        {"around": "5", "step": 1},
    ],
)
def test_errors_name_the_key(setting: Any) -> None:
    with pytest.raises(ConfigError, match=r"als\.hyperparams\.features"):
        values_of("als.hyperparams.features", setting, minimum=1)
