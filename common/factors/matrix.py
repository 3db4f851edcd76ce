"""Factor matrices: ids with float32 vectors, and their Gramian.

A :class:`FactorMatrix` is one side of a factorisation, users or items.  Its Gramian is updated
from the changed rows only, so that a fold-in never needs a pass over all rows.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from common.factors.ids import Ids

_SMALLEST_CAPACITY = 16
#: Rows that are added to a Gramian in one piece, while writers wait.
_GRAMIAN_BLOCK = 8192
_PENDING_LIMIT = 1024


class FactorMatrix:
    """Ids and their vectors, one float32 row for each id.

    Writes take a lock, so any number of threads may write.  Readers need no lock for
    :attr:`vectors` and :attr:`ids`: a view stays valid while the matrix grows, and a row keeps
    its number.  A scan over a view may meet a row just as it is replaced;
    :meth:`get` never does.

    Parameters
    ----------
    n_factors : int
        Length of a vector.
    ids : sequence of str
        Initial ids, all distinct; a :class:`common.factors.columns.Texts` takes less memory and
        slower look-ups (see :class:`common.factors.ids.Ids`).
    vectors : ndarray, shape (len(ids) or more, n_factors), optional
        Vectors of the initial ids, and room for more.  A writeable, C-contiguous float32 array
        is used without a copy.

    Raises
    ------
    ValueError
        If the shapes do not fit, an id occurs twice, or a number is not finite.
    """

    def __init__(
        self,
        n_factors: int,
        ids: Sequence[str] = (),
        vectors: NDArray[np.float32] | None = None,
    ) -> None:
        if vectors is None:
            vectors = np.zeros((len(ids), n_factors), np.float32)
        self.n_factors = n_factors
        self.changes = len(ids)
        self._lock = threading.Lock()
        self._ids = Ids(ids)
        self._checked(vectors[: len(self._ids)], len(self._ids))
        self._buffer = np.require(vectors, np.float32, requirements=["C", "W"])
        self._length = len(self._ids)
        # Gramian of rows [0, n_counted), computed lazily.
        self._gramian: NDArray[np.float64] = np.zeros((n_factors, n_factors))
        self._counted = 0
        self._pending: dict[int, NDArray[np.float32]] = {}

    def __len__(self) -> int:
        """Return the number of ids."""
        return self._length

    def __contains__(self, id: object) -> bool:
        """Return whether `id` has a vector."""
        return id in self._ids

    @property
    def ids(self) -> Sequence[str]:
        """All ids in row order; it grows with the matrix."""
        return self._ids

    @property
    def vectors(self) -> NDArray[np.float32]:
        """Read-only view on the rows, C-contiguous, shape (len, n_factors)."""
        # The length is read first: a buffer that is set afterwards has all of these rows too.
        length = self._length
        view = self._buffer[:length]
        view.flags.writeable = False
        return view

    def row(self, id: str) -> int | None:
        """Return the row number of `id`; None if it is unknown."""
        return self._ids.row(id)

    def rows(self, ids: Sequence[str]) -> NDArray[np.int64]:
        """Return the row numbers of `ids`; -1 for an unknown id."""
        return self._ids.rows(ids)

    def get(self, id: str) -> NDArray[np.float32] | None:
        """Return a copy of the vector of `id`; None if it is unknown."""
        with self._lock:
            row = self._ids.row(id)
            return None if row is None else self._buffer[row].copy()

    def set(self, id: str, vector: ArrayLike) -> int:
        """Replace or append the vector of `id`; return its row.

        Raises
        ------
        ValueError
            If the vector has another length than `n_factors`, or a number is not finite.
        """
        checked = self._checked(np.asarray(vector, np.float32)[np.newaxis], 1)[0]
        with self._lock:
            row = self._ids.row(id)
            if row is None:
                row = self._length
                self._reserve(row + 1)
            if row < self._counted and row not in self._pending:
                self._pending[row] = self._buffer[row].copy()
            self._buffer[row] = checked
            self._append([id] if row == self._length else [])
            self.changes += 1
            if len(self._pending) >= _PENDING_LIMIT:
                self._settle()
        return row

    def set_many(
        self,
        ids: Sequence[str],
        vectors: ArrayLike,
        before: Callable[[NDArray[np.int64]], None] | None = None,
    ) -> NDArray[np.int64]:
        """Replace or append many vectors; return their rows.

        If an id occurs twice, its last vector counts.

        Parameters
        ----------
        ids : sequence of str
            Ids of the vectors.
        vectors : array of float32, shape (len(ids), n_factors)
            The vectors.
        before : callable, optional
            Called with the rows after all checks and before the first write.

        Raises
        ------
        ValueError
            If the shape is not (len(ids), n_factors), or a number is not finite.
        """
        checked = self._checked(np.asarray(vectors, np.float32), len(ids))
        with self._lock:
            rows = self.rows(ids)
            unknown_positions = np.flatnonzero(rows < 0)
            numbers: dict[str, int] = {}
            for position in unknown_positions.tolist():
                rows[position] = self._length + numbers.setdefault(ids[position], len(numbers))
            if before is not None:
                before(rows)
            self._reserve(self._length + len(numbers))
            for start in range(0, len(rows), _PENDING_LIMIT):
                block = slice(start, start + _PENDING_LIMIT)
                self._remember(rows[block])
                self._buffer[rows[block]] = checked[block]
            self._append(list(numbers))
            self.changes += len(ids)
        return rows

    def gramian(self) -> NDArray[np.float64]:
        """Return VᵀV of all vectors V, shape (n_factors, n_factors), in float64.

        The cost is proportional to the rows changed since the last call; writers wait for a few
        thousand of these rows at most.
        """
        while True:
            with self._lock:
                end = min(self._counted + _GRAMIAN_BLOCK, self._length)
                self._gramian += gramian(self._buffer[self._counted : end])
                self._counted = end
                if end == self._length:
                    self._settle()
                    settled: NDArray[np.float64] = self._gramian.copy()
                    return settled

    def select(self, rows: NDArray[np.int64]) -> FactorMatrix:
        """Return a copy of some rows, in this order; the matrix itself stays as it is."""
        with self._lock:
            ids = [self._ids[row] for row in rows]
            return FactorMatrix(self.n_factors, ids, self._buffer[rows])

    def _checked(self, vectors: NDArray[np.float32], n_rows: int) -> NDArray[np.float32]:
        if vectors.shape != (n_rows, self.n_factors):
            message = f"vectors of shape {vectors.shape}, expected ({n_rows}, {self.n_factors})"
            raise ValueError(message)
        if not all_finite(vectors):
            message = "a vector holds a number that is not finite"
            raise ValueError(message)
        return vectors.astype(np.float32, copy=False)

    def _reserve(self, n_rows: int) -> None:
        """Enlarge the buffer if it has fewer than `n_rows` rows."""
        if n_rows <= len(self._buffer):
            return
        capacity = max(n_rows, 2 * len(self._buffer), _SMALLEST_CAPACITY)
        grown = np.zeros((capacity, self.n_factors), np.float32)
        grown[: self._length] = self._buffer[: self._length]
        self._buffer = grown

    def _append(self, new: list[str]) -> None:
        """Make written rows visible; their ids last, because readers find rows by id."""
        self._ids.append(new)
        self._length += len(new)
        self._ids.publish()

    def _remember(self, rows: NDArray[np.int64]) -> None:
        """Keep the vectors that are about to be replaced, for the update of the Gramian."""
        if len(self._pending) >= _PENDING_LIMIT:
            self._settle()
        counted = rows[rows < self._counted].tolist()
        old = [row for row in dict.fromkeys(counted) if row not in self._pending]
        self._pending.update(zip(old, self._buffer[old], strict=True))

    def _settle(self) -> None:
        """Update the Gramian for the replaced rows in `_pending`."""
        if not self._pending:
            return
        rows = np.fromiter(self._pending, np.int64, len(self._pending))
        before = np.stack(list(self._pending.values()))
        self._gramian += gramian(self._buffer[rows]) - gramian(before)
        self._pending.clear()


def gramian(vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return VᵀV in float64, shape (k, k), for vectors V of shape (n, k)."""
    total = np.zeros((vectors.shape[1], vectors.shape[1]), np.float64)
    for start in range(0, len(vectors), _GRAMIAN_BLOCK):
        block = vectors[start : start + _GRAMIAN_BLOCK].astype(np.float64)
        total += block.T @ block
    return total


def all_finite(vectors: NDArray[np.float32]) -> bool:
    """Return whether all numbers are finite."""
    flat = vectors.reshape(-1)
    # A dot product is one fast pass; it decides unless the squares overflow float32.
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(flat @ flat)) or bool(np.isfinite(flat).all())
