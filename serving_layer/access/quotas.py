"""Rate limits by name, with token buckets."""

from __future__ import annotations

from collections.abc import Callable

from serving_layer.access.shared_ttl_table import SharedTtlTable

#: Capacity of a bucket, in seconds of its rate: the largest burst.
BURST_SECONDS = 10.0
#: Capacity of the table; beyond about this many names, the fullest bucket is dropped.
MAX_NAMES = 10_000


class Buckets:
    """Token buckets by name, shared by all workers.

    Parameters
    ----------
    rate : float
        Tokens that are added to a bucket per second.
    clock : callable
        Monotonic seconds, the same in all processes.
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
        """Take tokens and return 0, or return the seconds until there are enough.

        More tokens than the capacity can be taken from a full bucket, which leaves it negative;
        otherwise such a request could never be admitted.
        """
        with self._buckets.record(name) as bucket:
            now = self._clock()
            before, updated = bucket.fields or (self._burst, now)
            tokens = min(self._burst, before + (now - updated) * self._rate)
            needed = min(count, self._burst)
            if tokens < needed:
                return float(needed - tokens) / self._rate
            remaining = tokens - count
            bucket.put(now + (self._burst - remaining) / self._rate, remaining, now)
            return 0.0
