"""The live ratings as they are going; the screens read it, and nothing else does."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from demo.freshness import Arrival, Arrivals
from demo.scoreboard import Scoreboard

NEWCOMER_SECONDS = 2.5


@dataclass
class Spotlight:
    """A user whose recommendations are shown; titles, the best first."""

    user: str
    before: Sequence[str]
    now: Sequence[str]
    n_events: int = 0


@dataclass
class Show:
    """The live events as they are going.

    Attributes
    ----------
    total : int
        How many live events there will be.
    board : Scoreboard
        Its length is the number of events that have come.
    arrivals : Arrivals
        Newcomers, and how long they took to become visible.
    generation : int
        What the models started from.
    spotlights : list of Spotlight
        Users who are shown.
    title : callable
        Gives an item's title.
    acknowledged : int
        How many live events the broker has acknowledged.
    started : float
        Monotonic time of the first one.
    seconds : float or None
        How long they took; None while they come.
    """

    total: int
    board: Scoreboard
    arrivals: Arrivals
    generation: int
    spotlights: list[Spotlight]
    title: Callable[[str], str]
    acknowledged: int = 0
    started: float = field(default_factory=time.monotonic)
    seconds: float | None = None
    _newcomer: Arrival | None = None
    _newcomer_since: float = -NEWCOMER_SECONDS

    @property
    def rate(self) -> float:
        """Events per second so far."""
        seconds = self.seconds or time.monotonic() - self.started
        return len(self.board) / max(seconds, 0.001)

    def newcomer(self) -> Arrival | None:
        """Return who became visible last; each stays for long enough to be read."""
        now = time.monotonic()
        if self.arrivals.seen and now - self._newcomer_since >= NEWCOMER_SECONDS:
            newest = self.arrivals.seen[-1]
            if newest is not self._newcomer:
                self._newcomer, self._newcomer_since = newest, now
        return self._newcomer

    def titles(self, items: Sequence[str], count: int) -> str:
        """Return the first titles as one line."""
        return ", ".join(map(self.title, items[:count]))
