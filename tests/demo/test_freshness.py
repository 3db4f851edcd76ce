"""How soon newcomers are visible."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from demo.freshness import Arrivals
from stack.errors import UserError
from tests.demo.fakes import Time


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)


def test_a_newcomer_is_asked_for_until_there_is_an_answer() -> None:
    clock = Time()
    answers = iter([None, None, ["i1", "i2"]])

    def ask(user: str) -> list[str] | None:
        clock.seconds += 0.25
        return next(answers)

    arrivals = Arrivals(ask, clock.now)
    arrivals.expect("new", acknowledged=99.5)
    arrivals.expect("new", acknowledged=1.0)
    arrivals.start()
    wait_for(lambda: arrivals.n_missing == 0)
    arrivals.close()
    (found,) = arrivals.seen
    assert (found.user, found.items) == ("new", ["i1", "i2"])
    assert found.seconds == pytest.approx(0.5 + 0.75)
    assert arrivals.percentile(50) == pytest.approx(1.25)


def test_who_was_left_out_is_not_watched() -> None:
    arrivals = Arrivals(lambda user: [])
    arrivals.leave_out("early")
    arrivals.expect("early", acknowledged=0)
    assert arrivals.n_missing == 0
    assert arrivals.percentile(50) is None


def test_a_refusal_reaches_who_waits() -> None:
    def ask(user: str) -> list[str] | None:
        message = "gone"
        raise UserError(message)

    arrivals = Arrivals(ask)
    arrivals.expect("new", acknowledged=0)
    arrivals.start()

    def refused() -> bool:
        try:
            return arrivals.n_missing < 0
        except UserError:
            return True

    wait_for(refused)
    arrivals.close()
