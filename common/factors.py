"""Factor matrices: ids and their float32 rows, the Gramian, its solver, and their files.

A :class:`FactorMatrix` is one side of a factorisation, users or items.  Its Gramian follows
every change by the change alone, so that a fold-in never pays for a pass over all rows.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import qr, solve_triangular

from common.model_store import StoreError

#: A Gramian is singular where a diagonal element of R is below this share of its norm (Oryx).
SINGULARITY_RATIO = 1e-5

#: A generation's files.
USER_FACTORS = "user_factors.parquet"
ITEM_FACTORS = "item_factors.parquet"

_SMALLEST_CAPACITY = 16
_GRAMIAN_BLOCK = 65_536
_PENDING_LIMIT = 1024


class FactorMatrix:
    """Ids and their vectors, one float32 row for each id.

    Writes take a lock, so that any number of threads may write.  Readers need none for
    :attr:`vectors` and :attr:`ids`: a view stays valid while the matrix grows, and a row keeps
    its number until :meth:`keep`.  A scan over a view may meet a row just as it is replaced;
    :meth:`get` never does.

    Parameters
    ----------
    n_factors : int
        Length of a vector.
    ids : sequence of str
        Ids of the first rows, all different.
    vectors : ndarray, shape (len(ids), n_factors), optional
        Their vectors.  A writeable, C-contiguous float32 array is taken over, not copied.

    Raises
    ------
    ValueError
        If the shapes do not fit, an id comes twice, or a number is not finite.
    """

    def __init__(
        self, n_factors: int, ids: Sequence[str] = (), vectors: NDArray[np.float32] | None = None
    ) -> None:
        if vectors is None:
            vectors = np.zeros((len(ids), n_factors), np.float32)
        self.n_factors = n_factors
        self.changes = len(ids)
        self._lock = threading.Lock()
        self._ids = list(ids)
        self._index = dict(zip(self._ids, range(len(self._ids)), strict=True))
        if len(self._index) != len(self._ids):
            message = f"{len(self._ids) - len(self._index)} ids come more than once"
            raise ValueError(message)
        self._buffer = np.require(self._checked(vectors, len(self._ids)), requirements=["C", "W"])
        self._length = len(self._ids)
        self._gramian: NDArray[np.float64] = gramian(self._buffer)
        self._pending: dict[int, NDArray[np.float32]] = {}

    def __len__(self) -> int:
        """Return the number of ids."""
        return self._length

    def __contains__(self, id: object) -> bool:
        """Tell whether `id` has a vector."""
        return id in self._index

    @property
    def ids(self) -> Sequence[str]:
        """All ids in row order; it grows with the matrix, and :meth:`keep` starts another."""
        return self._ids

    @property
    def vectors(self) -> NDArray[np.float32]:
        """Read-only view on the rows, C-contiguous, shape (len, n_factors)."""
        with self._lock:
            view = self._buffer[: self._length]
        view.flags.writeable = False
        return view

    def row(self, id: str) -> int | None:
        """Return the row number of `id`, None where it is unknown."""
        return self._index.get(id)

    def rows(self, ids: Sequence[str]) -> NDArray[np.int64]:
        """Return the row numbers of `ids`, -1 where one is unknown."""
        return np.fromiter(map(self._index.get, ids, repeat(-1)), np.int64, len(ids))

    def get(self, id: str) -> NDArray[np.float32] | None:
        """Return a copy of the vector of `id`, None where it is unknown."""
        with self._lock:
            row = self._index.get(id)
            return None if row is None else self._buffer[row].copy()

    def set(self, id: str, vector: ArrayLike) -> int:
        """Replace the vector of `id`, or append it; return its row.

        Raises
        ------
        ValueError
            If the vector has another length, or a number in it is not finite.
        """
        checked = self._checked(np.asarray(vector, np.float32)[np.newaxis], 1)[0]
        with self._lock:
            row = self._index.get(id)
            if row is None:
                row = self._length
                self._reserve(row + 1)
            if row not in self._pending:
                self._pending[row] = self._buffer[row].copy()
            self._buffer[row] = checked
            self._append([id] if row == self._length else [])
            self.changes += 1
            if len(self._pending) >= _PENDING_LIMIT:
                self._settle()
        return row

    def set_many(self, ids: Sequence[str], vectors: ArrayLike) -> NDArray[np.int64]:
        """Replace or append many vectors at once; return their rows.

        Of an id that comes twice the last vector stays.

        Raises
        ------
        ValueError
            If the shape is not (len(ids), n_factors), or a number is not finite.
        """
        checked = self._checked(np.asarray(vectors, np.float32), len(ids))
        with self._lock:
            self._settle()
            new = list(dict.fromkeys(id for id in ids if id not in self._index))
            first = self._length
            numbers = dict(zip(new, range(first, first + len(new)), strict=True))
            rows = np.fromiter(
                (numbers[id] if id in numbers else self._index[id] for id in ids),
                np.int64,
                len(ids),
            )
            self._reserve(first + len(new))
            touched = np.unique(rows)
            self._gramian -= gramian(self._buffer[touched])
            self._buffer[rows] = checked
            self._gramian += gramian(self._buffer[touched])
            self._append(new)
            self.changes += len(ids)
        return rows

    def gramian(self) -> NDArray[np.float64]:
        """Return VᵀV of all vectors V, shape (n_factors, n_factors), in float64.

        The cost is that of the rows changed since it was last asked for.
        """
        with self._lock:
            self._settle()
            settled: NDArray[np.float64] = self._gramian.copy()
        return settled

    def keep(self, ids: Collection[str]) -> None:
        """Drop every id that is not in `ids`; the rows that stay are numbered anew.

        Oryx's retention on a new model.  Views and id lists handed out before stay as they
        were.
        """
        wanted = frozenset(ids)
        with self._lock:
            self._settle()
            stay = [row for row, id in enumerate(self._ids) if id in wanted]
            self.changes += self._length - len(stay)
            self._ids = [self._ids[row] for row in stay]
            self._index = dict(zip(self._ids, range(len(stay)), strict=True))
            self._buffer = self._buffer[stay]
            self._length = len(stay)
            self._gramian = gramian(self._buffer)

    def _checked(self, vectors: NDArray[np.float32], n_rows: int) -> NDArray[np.float32]:
        if vectors.shape != (n_rows, self.n_factors):
            message = f"vectors of shape {vectors.shape}, expected ({n_rows}, {self.n_factors})"
            raise ValueError(message)
        if not np.isfinite(vectors).all():
            message = "a vector holds a number that is not finite"
            raise ValueError(message)
        return vectors.astype(np.float32, copy=False)

    def _reserve(self, n_rows: int) -> None:
        """Make room; rows past the length are zero, as a change from nothing."""
        if n_rows <= len(self._buffer):
            return
        capacity = max(n_rows, 2 * len(self._buffer), _SMALLEST_CAPACITY)
        grown = np.zeros((capacity, self.n_factors), np.float32)
        grown[: self._length] = self._buffer[: self._length]
        self._buffer = grown

    def _append(self, new: list[str]) -> None:
        """Make rows that have been written visible: an id last, as it leads to the rest."""
        first = self._length
        self._ids.extend(new)
        self._length = first + len(new)
        self._index.update(zip(new, range(first, self._length), strict=True))

    def _settle(self) -> None:
        """Bring the Gramian up to the rows that single writes have changed."""
        if not self._pending:
            return
        rows = np.fromiter(self._pending, np.int64, len(self._pending))
        before = np.stack(list(self._pending.values()))
        self._gramian += gramian(self._buffer[rows]) - gramian(before)
        self._pending.clear()


def gramian(vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return VᵀV in float64, shape (k, k), of vectors V of shape (n, k), block by block."""
    total = np.zeros((vectors.shape[1], vectors.shape[1]), np.float64)
    for start in range(0, len(vectors), _GRAMIAN_BLOCK):
        block = vectors[start : start + _GRAMIAN_BLOCK].astype(np.float64)
        total += block.T @ block
    return total


@dataclass(frozen=True)
class Solver:
    """Solves G·x = b for one square matrix G, by QR with column pivoting."""

    q: NDArray[np.float64]
    r: NDArray[np.float64]
    order: NDArray[np.int64]

    @classmethod
    def of(cls, matrix: NDArray[np.float64]) -> Solver | None:
        """Return the solver of `matrix`, shape (k, k); None where it is singular or empty.

        Oryx's rule: singular where a diagonal element of R is below 1e-5 of the norm.
        """
        if not matrix.size:
            return None
        q, r, order = qr(matrix, pivoting=True, check_finite=False)
        return cls(q, r, order) if _rank(r, matrix) == len(matrix) else None

    def solve(self, b: ArrayLike) -> NDArray[np.float64]:
        """Return G⁻¹b for `b` of shape (k,), or for each row of `b` of shape (n, k)."""
        right = np.asarray(b, np.float64)
        pivoted = solve_triangular(self.r, (right @ self.q).T, check_finite=False)
        solution = np.empty_like(pivoted)
        solution[self.order] = pivoted
        return np.ascontiguousarray(solution.T)


def apparent_rank(matrix: NDArray[np.float64]) -> int:
    """Count the diagonal elements of R (QR, pivoted) above 1e-5 of the matrix's norm."""
    if not matrix.size:
        return 0
    r, _ = qr(matrix, mode="r", pivoting=True, check_finite=False)
    return _rank(r, matrix)


def _rank(r: NDArray[np.float64], matrix: NDArray[np.float64]) -> int:
    limit = SINGULARITY_RATIO * np.linalg.norm(matrix, ord=1)
    return int((np.abs(np.diag(r)) > limit).sum())


@dataclass(frozen=True)
class StoredFactors:
    """One side of a factorisation as it lies in a file.

    Attributes
    ----------
    ids : list of str
        In row order.
    vectors : ndarray, shape (len(ids), n_factors)
        Writeable, so that a :class:`FactorMatrix` can take it over.
    known_items : ListArray of int32, or None
        For each user the row numbers of the known items in the file of the items.
    """

    ids: list[str]
    vectors: NDArray[np.float32]
    known_items: pa.ListArray | None = None


def write_factors(
    path: Path,
    ids: Sequence[str] | pa.Array,
    vectors: NDArray[np.float32],
    known_items: pa.ListArray | None = None,
) -> None:
    """Write factors as Parquet: ``id``, ``factors`` and, where given, ``known_items``.

    Parameters
    ----------
    path : Path
        The file; replaced if it exists.
    ids, vectors, known_items
        As in :class:`StoredFactors`.
    """
    flat = pa.array(np.ascontiguousarray(vectors, np.float32).reshape(-1))
    columns = {
        "id": pa.array(ids, pa.string()) if not isinstance(ids, pa.Array) else ids,
        "factors": pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1]),
    }
    if known_items is not None:
        columns["known_items"] = known_items.cast(pa.list_(pa.int32()))
    # Factors are noise to a codec and repeat too seldom for a dictionary.
    pq.write_table(pa.table(columns), path, compression="none", use_dictionary=False)


def read_factors(path: Path, with_known_items: bool = True) -> StoredFactors:
    """Read a file of :func:`write_factors`; the known items are left out on demand.

    Raises
    ------
    StoreError
        If it is not such a file, or holds a null or a number that is not finite.
    """
    columns = ["id", "factors", "known_items"] if with_known_items else ["id", "factors"]
    try:
        with pq.ParquetFile(path) as file:
            table = file.read(columns=columns)
        ids, vectors = table["id"].to_pylist(), _matrix(table["factors"])
    except (OSError, KeyError, ValueError, pa.ArrowException) as error:
        message = f"{path}: not a file of factors: {error}"
        raise StoreError(message) from error
    if None in ids or not np.isfinite(vectors).all():
        message = f"{path}: an id is missing or a factor is not a finite number"
        raise StoreError(message)
    known = table["known_items"].combine_chunks() if "known_items" in table.column_names else None
    return StoredFactors(ids, vectors, known)


def _matrix(column: pa.ChunkedArray) -> NDArray[np.float32]:
    """Copy a column of fixed-size lists into one writeable matrix."""
    if not pa.types.is_fixed_size_list(column.type) or column.null_count:
        message = f"factors are {column.type} with {column.null_count} nulls"
        raise ValueError(message)
    matrix = np.empty((len(column), column.type.list_size), np.float32)
    row = 0
    for chunk in column.chunks:
        flat = chunk.flatten().to_numpy(zero_copy_only=False)
        matrix[row : row + len(chunk)] = flat.reshape(-1, matrix.shape[1])
        row += len(chunk)
    return matrix
