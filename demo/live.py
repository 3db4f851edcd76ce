"""The live events: both models are asked before each one, then it is sent."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

from demo.data import Rating
from demo.scoreboard import FrozenModel
from demo.show import Show, Spotlight

TICK_SECONDS = 0.05
#: Who lags behind does not ask about more events at once before they are sent.
LARGEST_TICK = 50
ASKING_THREADS = 4
SHOWN_TITLES = 3

Map = Callable[
    [Callable[[str], Sequence[str] | None], Sequence[str]], Iterable[Sequence[str] | None]
]


class Serving(Protocol):
    """What the live events need of the serving layer."""

    def ingest(self, lines: Sequence[str]) -> None:
        """Send events and wait for their acknowledgement."""

    def recommend(self, user: str) -> Sequence[str] | None:
        """Return recommended items; None for an unknown user."""


@dataclass(frozen=True)
class Clock:
    """Seconds, and how to wait for some; tests have their own."""

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


def ticks(n_events: int, rate: float, clock: Clock) -> Iterator[slice]:
    """Yield which events are due, again and again, until all of them were.

    Events are due by the clock alone, whatever time the ones before have taken.  After a delay
    the pace is kept by larger ticks, up to `LARGEST_TICK`, that follow one another at once.

    Parameters
    ----------
    n_events : int
        How many there are.
    rate : float
        Events per second.
    clock : Clock
        The time.
    """
    started, taken = clock.now(), 0
    while taken < n_events:
        tick_ends = clock.now() + TICK_SECONDS
        due = min(n_events, int((clock.now() - started) * rate) + 1)
        upto = min(due, taken + LARGEST_TICK)
        if upto > taken:
            yield slice(taken, upto)
            taken = upto
        if taken == due:
            clock.sleep(max(0.0, tick_ends - clock.now()))


class Match:
    """The frozen model against the one that serves.

    Parameters
    ----------
    frozen : FrozenModel
        The generation as it was trained; it is told what users have had, and learns nothing.
    serving : Serving
        Answers by the model as it is now, and takes the events.
    show : Show
        Where the results go.
    clock : Clock
        The time.
    """

    def __init__(
        self, frozen: FrozenModel, serving: Serving, show: Show, clock: Clock | None = None
    ) -> None:
        self._frozen = frozen
        self._serving = serving
        self._clock = clock or Clock()
        self.show = show
        self._spotlights = {one.user: one for one in show.spotlights}

    def play(self, events: Sequence[Rating], rate: float, check: Callable[[], None]) -> None:
        """Play all events at `rate` events per second; `check` is called at each tick."""
        with ThreadPoolExecutor(ASKING_THREADS) as pool:
            for part in ticks(len(events), rate, self._clock):
                check()
                self._tick(events[part], pool)

    def send(self, events: Sequence[Rating]) -> float:
        """Send events; return the time at which they were acknowledged."""
        self._serving.ingest([event.line() for event in events])
        self.show.acknowledged += len(events)
        return self._clock.now()

    def judge(self, events: Sequence[Rating], map_: Map = map) -> None:
        """Ask both models about events that are about to be sent, and count the hits.

        Parameters
        ----------
        events : sequence of Rating
            What comes next.
        map_ : callable
            ``map``, or that of a pool of threads that ask.
        """
        users = list(dict.fromkeys(event.user for event in events))
        answers = dict(zip(users, map_(self._serving.recommend, users), strict=True))
        for event in events:
            self._count(event, answers[event.user])

    def _count(self, event: Rating, answer: Sequence[str] | None) -> None:
        """Count an event; `answer` is None where the serving layer did not know the user."""
        if answer is None:
            updated = self._frozen.popular(event.user)
        else:
            updated = self._frozen.unseen(event.user, answer)
        offered = self._frozen.recommend(event.user)
        self.show.board.add(event.item, offered, updated, self._is_new(event.user))
        self._frozen.saw(event)
        if event.user in self._spotlights:
            spotlight = self._spotlights[event.user]
            spotlight.n_events += 1
            spotlight.now = [self.show.title(item) for item in updated[:SHOWN_TITLES]]

    def _tick(self, events: Sequence[Rating], pool: ThreadPoolExecutor) -> None:
        self.judge(events, pool.map)
        acknowledged = self.send(events)
        for event in events:
            # By an item that the model does not know nobody becomes known either.
            if self._is_new(event.user) and self._frozen.knows_item(event.item):
                self.show.arrivals.expect(event.user, acknowledged)

    def _is_new(self, user: str) -> bool:
        return not self._frozen.knows_user(user)


def spotlights(
    events: Sequence[Rating], frozen: FrozenModel, title: Callable[[str], str], count: int = 3
) -> list[Spotlight]:
    """Choose users to show: those with most events, known ones first."""
    n_events: dict[str, int] = {}
    for event in events:
        n_events[event.user] = n_events.get(event.user, 0) + 1
    order = sorted(n_events, key=lambda user: (not frozen.knows_user(user), -n_events[user]))
    chosen = []
    for user in order[:count]:
        titles = [title(item) for item in frozen.recommend(user)[:SHOWN_TITLES]]
        chosen.append(Spotlight(user, titles, titles))
    return chosen
