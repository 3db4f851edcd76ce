"""What the demo has to tell while it runs; the screens read it, and nothing else does."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from cli.demo.data import Ratings
from cli.demo.freshness import Arrival, Arrivals
from cli.demo.scoreboard import Scoreboard

NEWCOMER_SECONDS = 2.5


@dataclass
class Step:
    """Something that is done once, before the live events.

    Attributes
    ----------
    name : str
        What is done.
    seconds : float or None
        How long it took; None while it goes on.
    note : str
        What came of it.
    done, total : int
        How far it is, where that can be counted; `total` 0 where not.
    """

    name: str
    started: float
    seconds: float | None = None
    note: str = ""
    done: int = 0
    total: int = 0

    @property
    def elapsed(self) -> float:
        """Seconds since its start."""
        return time.monotonic() - self.started


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


@dataclass
class Story:
    """All of it.

    Attributes
    ----------
    ratings : Ratings
        What is learned from.
    n_past, n_live : int
        How many of them train the model, and how many come live.
    steps : list of Step
        In the order of their start.
    """

    ratings: Ratings
    n_past: int
    n_live: int
    steps: list[Step] = field(default_factory=list)

    @contextmanager
    def step(self, name: str, total: int = 0) -> Iterator[Step]:
        """Tell of a step, from its start to its end."""
        step = self.begin(name, total)
        yield step
        self.end(step)

    def begin(self, name: str, total: int = 0) -> Step:
        """Tell of the start of a step that other steps go along with."""
        step = Step(name, time.monotonic(), total=total)
        self.steps.append(step)
        return step

    def end(self, step: Step, note: str = "") -> None:
        """Tell that it is done, and what came of it."""
        step.note = note or step.note
        step.seconds = step.elapsed
