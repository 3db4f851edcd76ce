"""How much somebody may do in a time: token buckets, one for each name."""

from __future__ import annotations

from collections.abc import Callable

from serving_layer.access.shared_ttl_table import SharedTtlTable

#: Seconds' worth that a bucket holds: so much may come at once.
BURST_SECONDS = 10.0
#: Names that are remembered; beyond about so many, that whose bucket is fullest starts anew.
MAX_NAMES = 10_000


class Buckets:
    """Token buckets by name, the same for all workers.

    Parameters
    ----------
    rate : float
        Tokens that come to a bucket in a second.
    clock : callable
        Seconds, never going back, the same in all processes.
    burst : float, optional
        Tokens that a bucket holds at most, and at first.
    max_names : int
        Names that are remembered.
    """

    def __init__(
        self,
        rate: float,
        clock: Callable[[], float],
        burst: float | None = None,
        max_names: int = MAX_NAMES,
    ) -> None:
        self._rate = rate
        self._burst = max(1.0, rate * BURST_SECONDS if burst is None else burst)
        self._clock = clock
        #: A bucket's tokens and since when it has had them; one that is full again is forgotten.
        self._buckets = SharedTtlTable("dd", max_names, clock)

    def take(self, name: str, count: float = 1.0) -> float:
        """Take tokens; 0 where there were enough, else the seconds until there are.

        What is more than a bucket holds is allowed from a full one, and then has to be waited
        for: otherwise it could never be allowed.
        """
        with self._buckets.record(name) as bucket:
            now = self._clock()
            before, then = bucket.fields or (self._burst, now)
            tokens = min(self._burst, before + (now - then) * self._rate)
            wanted = min(count, self._burst)
            if tokens < wanted:
                return float(wanted - tokens) / self._rate
            left = tokens - count
            bucket.put(now + (self._burst - left) / self._rate, left, now)
            return 0.0
