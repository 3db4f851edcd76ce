"""What every family keeps in the speed layer."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from common.store.generations import Generation
from common.wire.messages import MessageError
from tests.conformance.conftest import Family

pytestmark = [pytest.mark.integration, pytest.mark.layers("speed")]
Build = Callable[..., Generation]


def test_a_restart_from_the_updates_goes_on_alike(family: Family, build: Build) -> None:
    lines = family.sample.lines()
    past, first, second = lines[: len(lines) // 2], lines[-20:-10], lines[-10:]
    generation = build(past)
    running, restarted = family.speed(generation), family.speed(generation)
    updates = running.build_updates(family.events(first))
    assert len(updates) > 0
    for update in updates:
        restarted.apply(update)
    more = family.events(second, 10)
    assert restarted.build_updates(more) == running.build_updates(more)


def test_the_same_events_give_the_same_updates(family: Family, build: Build) -> None:
    lines = family.sample.lines()
    generation = build(lines[: len(lines) // 2])
    batch = family.events(lines[-20:])
    one, other = (family.speed(generation).build_updates(batch) for _ in range(2))
    assert len(one) > 0
    assert one == other


def test_updates_that_cannot_be_read_are_refused(family: Family, build: Build) -> None:
    model = family.speed(build(family.sample.lines()))
    assert len(family.sample.BAD_UPDATES) > 2
    for update in family.sample.BAD_UPDATES:
        with pytest.raises(MessageError):
            model.apply(update)


def test_a_generation_of_ours_is_loaded_whole(family: Family, build: Build) -> None:
    assert family.speed(build(family.sample.lines())).fraction_loaded == 1.0
