"""The rows that have changed since the last merge into an index, for exact scans."""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from serving_layer.search.live import LiveFactors, RowNumbers, Vectors

_SMALLEST_CAPACITY = 64


class Snapshot(NamedTuple):
    """An immutable snapshot of the buffer, which is scanned without a lock.

    Attributes
    ----------
    rows : ndarray of int64, shape (n,)
        Row numbers; a row that was written again occurs again.
    vectors : ndarray of float32, shape (n, k)
        Their vectors.
    superseded : int
        Number of entries that a later entry of the same row replaces.
    """

    rows: RowNumbers
    vectors: Vectors
    superseded: int


class DeltaBuffer:
    """The changed rows of factors with their current vectors.

    The thread that writes the factors calls :meth:`extend` and :meth:`settle`; any number of
    threads read :attr:`snapshot`; all other methods require the index's lock.

    Parameters
    ----------
    n_factors : int
        Length of a vector.
    on_written : bound method
        Called in the writing thread, without a lock, after each write.  The reference is weak,
        so that the factors do not keep the index alive.
    """

    def __init__(self, n_factors: int, on_written: Callable[[], None]) -> None:
        self._on_written = weakref.WeakMethod(on_written)
        self._touched: deque[int] = deque()
        # Position of each row's newest vector; vectors are appended and never overwritten.
        self._slots: dict[int, int] = {}
        self._n_old = 0
        self._rows = np.zeros(_SMALLEST_CAPACITY, np.int64)
        self._vectors = np.zeros((_SMALLEST_CAPACITY, n_factors), np.float32)
        self.snapshot = Snapshot(self._rows[:0], self._vectors[:0], 0)

    def __len__(self) -> int:
        """Return the number of distinct rows in the buffer."""
        return len(self._slots)

    @property
    def n_fresh(self) -> int:
        """Number of vectors added since :meth:`keep`."""
        return len(self.snapshot.rows) - self._n_old

    def extend(self, rows: Iterable[int]) -> None:
        """Add rows that are about to be written."""
        self._touched.extend(rows)

    def settle(self) -> None:
        """Call `on_written`: the rows have been written."""
        on_written = self._on_written()
        if on_written is not None:
            on_written()

    def refresh(self, factors: LiveFactors, scaled: Callable[[Vectors], Vectors]) -> None:
        """Read the vectors of all completed writes and add them, scaled by `scaled`."""
        if not self._touched:
            return
        rows = {self._touched.popleft() for _ in range(len(self._touched))}
        with factors.watch() as unfinished:
            written = [row for row in rows if row < len(factors.matrix)]
            vectors = factors.take(np.array(written, np.int64))
        # These rows may have been read before they were written: read them again next time.
        self._touched.extend(rows.intersection(unfinished))
        first = len(self.snapshot.rows)
        end = first + len(written)
        self._reserve(end)
        self._rows[first:end] = written
        self._vectors[first:end] = scaled(vectors)
        self._slots.update(zip(written, range(first, end), strict=True))
        self._publish(end)

    def fresh(self) -> tuple[RowNumbers, Vectors]:
        """Return the rows changed since :meth:`keep`, and their vectors."""
        slots = self._newest()
        slots = slots[slots >= self._n_old]
        return self._rows[slots], self._vectors[slots]

    def keep(self, stay: NDArray[np.bool_]) -> None:
        """Drop the rows of :meth:`fresh` that `stay` does not mark."""
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
        self.snapshot = Snapshot(self._rows[:end], self._vectors[:end], end - len(self._slots))

    def _reserve(self, n_rows: int) -> None:
        missing = n_rows - len(self._rows)
        if missing > 0:
            room = missing + len(self._rows)
            self._rows = np.pad(self._rows, (0, room))
            self._vectors = np.pad(self._vectors, ((0, room), (0, 0)))
