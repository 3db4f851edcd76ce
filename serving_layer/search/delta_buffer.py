"""Rows changed since they were last given to an index, kept apart and scanned whole."""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from serving_layer.search.live import LiveFactors, RowNumbers, Vectors

_SMALLEST_CAPACITY = 64


class Kept(NamedTuple):
    """What is kept at one moment; it never changes, so that it is scanned without a lock.

    Attributes
    ----------
    rows : ndarray of int64, shape (n,)
        Row numbers; one that was written again comes again.
    vectors : ndarray of float32, shape (n, k)
        Their vectors.
    superseded : int
        For how many of them a later one stands.
    """

    rows: RowNumbers
    vectors: Vectors
    superseded: int


class DeltaBuffer:
    """The rows of some factors that have changed, with their vectors as they are now.

    The thread that writes the factors calls :meth:`extend` and :meth:`settle`; any number read
    :attr:`kept`; all else is for one thread at a time, whoever holds the lock of the index.

    Parameters
    ----------
    n_factors : int
        Length of a vector.
    on_written : bound method
        Called on the writing thread, without any lock, after each write.  It is held weakly:
        what is followed must not keep alive who follows.
    """

    def __init__(self, n_factors: int, on_written: Callable[[], None]) -> None:
        self._on_written = weakref.WeakMethod(on_written)
        self._touched: deque[int] = deque()
        # Where the newest vector of each row is; vectors are appended and never overwritten.
        self._slots: dict[int, int] = {}
        self._n_old = 0
        self._rows = np.zeros(_SMALLEST_CAPACITY, np.int64)
        self._vectors = np.zeros((_SMALLEST_CAPACITY, n_factors), np.float32)
        self.kept = Kept(self._rows[:0], self._vectors[:0], 0)

    def __len__(self) -> int:
        """Return the number of rows kept."""
        return len(self._slots)

    @property
    def n_fresh(self) -> int:
        """How many vectors have come since :meth:`keep`."""
        return len(self.kept.rows) - self._n_old

    def extend(self, rows: Iterable[int]) -> None:
        """Take note of rows that are about to be written."""
        self._touched.extend(rows)

    def settle(self) -> None:
        """Tell who follows that they have been written."""
        on_written = self._on_written()
        if on_written is not None:
            on_written()

    def refresh(self, factors: LiveFactors, scaled: Callable[[Vectors], Vectors]) -> None:
        """Take over the vectors of all writes that have ended, as `scaled` returns them."""
        if not self._touched:
            return
        rows = {self._touched.popleft() for _ in range(len(self._touched))}
        with factors.watch() as unfinished:
            known = [row for row in rows if row < len(factors.matrix)]
            vectors = factors.take(np.array(known, np.int64))
        # These may have been read before they were written.
        self._touched.extend(rows.intersection(unfinished))
        first, end = len(self.kept.rows), len(self.kept.rows) + len(known)
        self._reserve(end)
        self._rows[first:end] = known
        self._vectors[first:end] = scaled(vectors)
        self._slots.update(zip(known, range(first, end), strict=True))
        self._publish(end)

    def fresh(self) -> tuple[RowNumbers, Vectors]:
        """Return the rows that have changed since :meth:`keep`, and their vectors."""
        slots = self._newest()
        slots = slots[slots >= self._n_old]
        return self._rows[slots], self._vectors[slots]

    def keep(self, stay: NDArray[np.bool_]) -> None:
        """Forget those of :meth:`fresh` that are not marked."""
        slots = self._newest()
        fresh = slots >= self._n_old
        slots = np.concatenate([slots[~fresh], slots[fresh][stay]])
        self._rows, self._vectors = self._rows[slots], self._vectors[slots]
        self._slots = {row: slot for slot, row in enumerate(self._rows.tolist())}
        self._n_old = len(slots)
        self._publish(len(slots))

    def _newest(self) -> RowNumbers:
        return np.sort(np.fromiter(self._slots.values(), np.int64, len(self._slots)))

    def _publish(self, end: int) -> None:
        self.kept = Kept(self._rows[:end], self._vectors[:end], end - len(self._slots))

    def _reserve(self, n_rows: int) -> None:
        missing = n_rows - len(self._rows)
        if missing > 0:
            room = missing + len(self._rows)
            self._rows = np.pad(self._rows, (0, room))
            self._vectors = np.pad(self._vectors, ((0, room), (0, 0)))
