"""Stand-ins for what the demo works with."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from common.factors.matrix import FactorMatrix
from demo.data import Rating
from demo.freshness import Arrivals
from demo.live import Clock
from demo.scoreboard import FrozenModel, Scoreboard
from demo.show import Show


class Time:
    """A clock that only moves when somebody sleeps, or by hand."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def now(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds

    def clock(self) -> Clock:
        return Clock(self.now, self.sleep)


class FakeServing:
    """Knows users from their first event on, and recommends to everybody the same."""

    def __init__(self, items: Sequence[str], known: Sequence[str] = ()) -> None:
        self.items = list(items)
        self.known = set(known)
        self.asked: list[str] = []
        self.posts: list[list[str]] = []

    def ingest(self, lines: Sequence[str]) -> None:
        self.posts.append(list(lines))
        self.known.update(line.split(",")[0] for line in lines)

    def recommend(self, user: str) -> Sequence[str] | None:
        self.asked.append(user)
        return self.items if user in self.known else None


def rating(user: str, item: str, timestamp: int = 1) -> Rating:
    return Rating(user, item, 5.0, timestamp)


def frozen_model(past: Sequence[Rating]) -> FrozenModel:
    """Return a model of one factor: a later item of the past is a better one for everybody."""
    users = sorted({one.user for one in past})
    items = list(dict.fromkeys(one.item for one in past))
    scores = np.arange(1, len(items) + 1, dtype=np.float32)[:, np.newaxis]
    ones = np.ones((len(users), 1), np.float32)
    return FrozenModel(FactorMatrix(1, users, ones), FactorMatrix(1, items, scores), past)


def show_of(total: int, serving: FakeServing) -> Show:
    return Show(
        total=total,
        board=Scoreboard(),
        arrivals=Arrivals(serving.recommend),
        generation=7,
        spotlights=[],
        title=lambda item: f"title of {item}",
    )
