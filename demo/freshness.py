"""How long it takes until somebody new gets recommendations."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from stack.errors import UserError

POLL_SECONDS = 0.02
Ask = Callable[[str], Sequence[str] | None]


@dataclass(frozen=True)
class Arrival:
    """A user who did not exist, and does now.

    Attributes
    ----------
    user : str
        Who.
    seconds : float
        From the acknowledgement of the first event to the first recommendations.
    items : sequence of str
        These.
    """

    user: str
    seconds: float
    items: Sequence[str]


class Arrivals:
    """Asks for each newcomer again and again, on a thread of its own, until there is an answer.

    Parameters
    ----------
    ask : callable
        Returns the recommendations of a user, None while the user is unknown.
    clock : callable
        Seconds.

    Attributes
    ----------
    seen : list of Arrival
        In the order in which they became visible.
    """

    def __init__(self, ask: Ask, clock: Callable[[], float] = time.monotonic) -> None:
        self._ask = ask
        self._clock = clock
        self._waiting: dict[str, float] = {}
        self._expected: set[str] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="arrivals", daemon=True)
        self._failure: UserError | None = None
        self.seen: list[Arrival] = []

    def start(self) -> None:
        """Start to watch."""
        self._thread.start()

    def close(self) -> None:
        """Stop, waiting for the thread."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def expect(self, user: str, acknowledged: float) -> None:
        """Watch for a user whose event was acknowledged at that time; only the first counts."""
        if user not in self._expected:
            self._expected.add(user)
            self._waiting[user] = acknowledged

    def leave_out(self, user: str) -> None:
        """Do not watch for a user, whatever events come."""
        self._expected.add(user)

    @property
    def n_missing(self) -> int:
        """How many are not visible yet.

        Raises
        ------
        UserError
            If the serving layer refuses to say.
        """
        if self._failure is not None:
            raise self._failure
        return len(self._waiting)

    def percentile(self, percent: float) -> float | None:
        """Return a percentile of the seconds until a newcomer was visible; None without any."""
        if not self.seen:
            return None
        return float(np.percentile([arrival.seconds for arrival in self.seen], percent))

    def _run(self) -> None:
        try:
            while not self._stop.wait(POLL_SECONDS):
                for user, acknowledged in list(self._waiting.items()):
                    self._look(user, acknowledged)
        except UserError as error:
            self._failure = error

    def _look(self, user: str, acknowledged: float) -> None:
        items = self._ask(user)
        if items is not None:
            self.seen.append(Arrival(user, self._clock() - acknowledged, items))
            del self._waiting[user]
