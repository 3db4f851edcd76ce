"""Rows changed since they were last given to an index, kept apart and scanned whole."""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from serving_layer.top_n.live import LiveFactors, RowNumbers, Vectors

_SMALLEST_CAPACITY = 64


class Recent:
    """The rows of some factors that have changed, with their vectors as they are now.

    The thread that writes the factors calls :meth:`append`; all else is for one thread at a
    time, whoever holds the lock of the index.

    Parameters
    ----------
    n_factors : int
        Length of a vector.
    on_full : bound method
        Called on the writing thread, without any lock, each time `limit` writes have come.  It
        is held weakly: what is followed must not keep alive who follows.
    limit : int
        How many.
    """

    def __init__(self, n_factors: int, on_full: Callable[[], None], limit: int) -> None:
        self._on_full = weakref.WeakMethod(on_full)
        self._limit = limit
        self._touched: deque[int] = deque()
        self._slots: dict[int, int] = {}
        self._rows = np.zeros(_SMALLEST_CAPACITY, np.int64)
        self._vectors = np.zeros((_SMALLEST_CAPACITY, n_factors), np.float32)

    def __len__(self) -> int:
        """Return the number of rows kept."""
        return len(self._slots)

    def append(self, row: int) -> None:
        """Take note of a row that is about to be written."""
        self._touched.append(row)
        if len(self._touched) >= self._limit:
            on_full = self._on_full()
            if on_full is not None:
                on_full()

    def include(self, rows: RowNumbers) -> None:
        """Take rows in as if they had just been written."""
        self._touched.extend(rows.tolist())

    def refresh(self, factors: LiveFactors) -> None:
        """Take over the vectors of all writes that have ended."""
        if not self._touched:
            return
        rows = {self._touched.popleft() for _ in range(len(self._touched))}
        with factors.watch() as unfinished:
            known = [row for row in rows if row < len(factors.matrix)]
            vectors = factors.take(np.array(known, np.int64))
        # These may have been read before they were written.
        self._touched.extend(rows.intersection(unfinished))
        slots = [self._slots.setdefault(row, len(self._slots)) for row in known]
        self._reserve(len(self._slots))
        self._rows[slots] = known
        self._vectors[slots] = vectors

    def rows_and_vectors(self) -> tuple[RowNumbers, Vectors]:
        """Return views on the rows kept and on their vectors."""
        return self._rows[: len(self)], self._vectors[: len(self)]

    def drop(self, dropped: NDArray[np.bool_]) -> None:
        """Forget those of :meth:`rows_and_vectors` that are marked."""
        rows, vectors = (held[~dropped] for held in self.rows_and_vectors())
        self._slots = {row: slot for slot, row in enumerate(rows.tolist())}
        self._rows[: len(rows)] = rows
        self._vectors[: len(rows)] = vectors

    def _reserve(self, n_rows: int) -> None:
        missing = n_rows - len(self._rows)
        if missing > 0:
            room = missing + len(self._rows)
            self._rows = np.pad(self._rows, (0, room))
            self._vectors = np.pad(self._vectors, ((0, room), (0, 0)))
