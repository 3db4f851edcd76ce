"""Ageing of generations, and the time against which age is measured."""

from __future__ import annotations

from pathlib import Path

import pytest

from batch_layer.run.retention import age_generations, reference_time
from common.config import Storage
from common.store.generations import Manifest, ModelStore

HOUR = 3_600_000


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    made = ModelStore(str(tmp_path))
    for hour, app in [(1, "als"), (2, "als"), (3, "other"), (4, "als"), (5, "als")]:
        folder = made.new(hour * HOUR)
        (folder / "model.pmml").write_text("x")
        made.commit(folder, Manifest(hour * HOUR, app, "model.pmml", {}, "id", {0: 1}))
    return made


def hours(ids: list[int]) -> list[int]:
    return [id_ // HOUR for id_ in ids]


@pytest.mark.parametrize(
    ("max_age", "reference", "removed"),
    [
        (-1, 100 * HOUR, []),
        (4, 5 * HOUR, []),
        (3, 5 * HOUR, [1]),
        (1, 5 * HOUR, [1, 2]),
        (1, 100 * HOUR, [1, 2, 4]),
        (0, 0, [1, 2, 4, 5]),
    ],
)
def test_generations_past_their_age_go_but_the_newest_stays(
    store: ModelStore, max_age: int, reference: int, removed: list[int]
) -> None:
    storage = Storage(max_age_model_hours=max_age)
    assert hours(age_generations(store, "als", storage, reference)) == removed
    left = [hour for hour in (1, 2, 3, 4, 5) if hour not in removed]
    assert hours(store.ids()) == left


def test_a_generation_that_cannot_be_read_stays_and_keeps_no_other(store: ModelStore) -> None:
    store.get(2 * HOUR).path("model.pmml").with_name("manifest.json").write_text("{}")
    removed = age_generations(store, "als", Storage(max_age_model_hours=1), 5 * HOUR)
    assert hours(removed) == [1]
    assert hours(store.ids()) == [2, 3, 4, 5]


def test_age_is_measured_against_the_earlier_of_clock_and_newest_event() -> None:
    assert reference_time(clock=100, newest_event=90) == 90
    assert reference_time(clock=80, newest_event=90) == 80
