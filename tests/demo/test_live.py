"""The live events: their pace, who is asked before what is sent, and who is watched."""

from __future__ import annotations

from itertools import pairwise

import pytest

from demo.live import LARGEST_TICK, Match, spotlights, ticks
from stack.errors import UserError
from tests.demo.fakes import FakeServing, Time, frozen_model, rating, show_of

PAST = [rating("old", f"i{number}") for number in range(5)]


def test_events_are_due_by_the_clock() -> None:
    time = Time()
    parts = list(ticks(1000, 200, time.clock()))
    assert sum(part.stop - part.start for part in parts) == 1000
    assert parts[0].start == 0
    assert all(one.stop == other.start for one, other in pairwise(parts))
    assert time.seconds - 100 == pytest.approx(5.0, abs=0.1)
    assert max(part.stop - part.start for part in parts[1:]) <= 11


def test_the_pace_is_kept_after_a_delay_by_larger_ticks() -> None:
    time = Time()
    sizes: list[int] = []
    for part in ticks(1000, 200, time.clock()):
        if len(sizes) == 3:
            time.seconds += 2
        sizes.append(part.stop - part.start)
    assert max(sizes) == LARGEST_TICK
    assert sum(sizes) == 1000
    assert time.seconds - 100 == pytest.approx(5.0, abs=0.1)


def test_who_cannot_keep_up_ends_later_and_leaves_nothing_out() -> None:
    time = Time()
    sent = 0
    for part in ticks(500, 1000, time.clock()):
        time.seconds += 1
        sent += part.stop - part.start
    assert sent == 500
    assert time.seconds - 100 >= 10


def test_both_models_are_asked_before_the_event_is_sent() -> None:
    serving = FakeServing(["i4", "i3"], known=["old"])
    show = show_of(2, serving)
    match = Match(frozen_model(PAST), serving, show, Time().clock())
    new = [rating("new", "i4"), rating("new", "i3")]
    match.judge(new[:1])
    assert serving.posts == []
    match.send(new[:1])
    assert serving.posts == [["new,i4,5.0,1000"]]
    match.judge(new[1:])
    assert serving.asked == ["new", "new"]
    assert show.acknowledged == 1
    # Unknown at first, so both offer what is popular; then the serving layer's own answer.
    assert show.board.frozen == [True, True]
    assert show.board.updated == [True, True]
    assert show.board.newcomer == [True, True]


def test_the_serving_layers_answer_counts_without_what_the_user_has_had() -> None:
    late = [f"i{number}" for number in range(5)] + [f"x{number}" for number in range(15)]
    serving = FakeServing(late, known=["old"])
    show = show_of(3, serving)
    match = Match(frozen_model(PAST), serving, show, Time().clock())
    match.judge([rating("old", "x9"), rating("old", "x10"), rating("old", "i0")])
    # x10 moves up to the tenth place as x9 has been had; i0 has been had before.
    assert show.board.updated == [True, True, False]
    assert serving.asked == ["old"]


def test_all_events_are_played_and_newcomers_watched() -> None:
    serving = FakeServing(["i4"], known=["old"])
    show = show_of(300, serving)
    time = Time()
    checks: list[float] = []
    match = Match(frozen_model(PAST), serving, show, time.clock())
    events = [rating(f"u{number % 10}", "i1" if number % 2 else "odd") for number in range(300)]
    match.play(events, 100, lambda: checks.append(time.seconds))
    assert len(show.board) == show.acknowledged == 300
    assert [line for post in serving.posts for line in post] == [one.line() for one in events]
    assert len(checks) == len(serving.posts) > 10
    # Users of even numbers have only dealt with an item that the model does not know.
    assert show.arrivals.n_missing == 5


def test_what_the_serving_layer_refuses_ends_the_play() -> None:
    class Refusing(FakeServing):
        def ingest(self, lines: object) -> None:
            message = "refused"
            raise UserError(message)

    serving = Refusing(["i1"])
    match = Match(frozen_model(PAST), serving, show_of(5, serving), Time().clock())
    with pytest.raises(UserError, match="refused"):
        match.play([rating("u", "i1")] * 5, 100, lambda: None)


def test_spotlights_are_on_known_users_with_many_events() -> None:
    past = [rating(user, f"i{number}") for user in "ab" for number in range(5)]
    frozen = frozen_model([*past, rating("c", "i0")])
    events = [rating(user, "i1") for user in "nnnnccca"]
    found = spotlights(events, frozen, str.upper)
    assert [one.user for one in found] == ["c", "a", "n"]
    assert found[0].before == ["I4", "I3", "I2"]


def test_a_spotlight_follows_its_user() -> None:
    serving = FakeServing(["i4", "i3", "i2", "i1"], known=["c"])
    show = show_of(2, serving)
    frozen = frozen_model([*PAST, rating("c", "i0")])
    show.spotlights = spotlights([rating("c", "i4")], frozen, show.title)
    match = Match(frozen, serving, show, Time().clock())
    match.judge([rating("c", "i4")])
    match.judge([rating("c", "i3")])
    (spotlight,) = show.spotlights
    assert spotlight.n_events == 2
    assert spotlight.now == ["title of i3", "title of i2", "title of i1"]
