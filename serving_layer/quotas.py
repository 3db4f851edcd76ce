"""How much somebody may do in a time: token buckets, one for each name."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable

#: Seconds' worth that a bucket holds: so much may come at once.
BURST_SECONDS = 10.0
#: Names that are remembered; beyond it the one that was idle longest starts anew.
MAX_NAMES = 10_000


class Buckets:
    """Token buckets by name.

    Parameters
    ----------
    rate : float
        Tokens that come to a bucket in a second.
    clock : callable
        Seconds, never going back.
    burst : float, optional
        Tokens that a bucket holds at most, and at first.
    """

    def __init__(self, rate: float, clock: Callable[[], float], burst: float | None = None) -> None:
        self._rate = rate
        self._burst = max(1.0, rate * BURST_SECONDS if burst is None else burst)
        self._clock = clock
        self._lock = threading.Lock()
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, name: str, count: float = 1.0) -> float:
        """Take tokens; 0 where there were enough, else the seconds until there are.

        What is more than a bucket holds is allowed from a full one, and then has to be waited
        for: otherwise it could never be allowed.
        """
        with self._lock:
            tokens, now = self._filled(name)
            wanted = min(count, self._burst)
            if tokens < wanted:
                return (wanted - tokens) / self._rate
            self._buckets[name] = (tokens - count, now)
            self._buckets.move_to_end(name)
            if len(self._buckets) > MAX_NAMES:
                self._buckets.popitem(last=False)
            return 0.0

    def _filled(self, name: str) -> tuple[float, float]:
        now = self._clock()
        tokens, then = self._buckets.get(name, (self._burst, now))
        return min(self._burst, tokens + (now - then) * self._rate), now
