"""Factors that are scanned while they change, with detection of half-written rows.

NumPy and BLAS read without a lock, so a scan may read a row that is half old and half new.
:meth:`LiveFactors.watch` collects the rows to which this may have happened, so that the scan can
read these rows again.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from common.factors.matrix import FactorMatrix

Vectors = NDArray[np.float32]
Scores = NDArray[np.float64]
RowNumbers = NDArray[np.int64]

#: For cosines, a shorter vector counts as zero, because its direction is lost in float32.
SHORTEST = 1e-15

_NORM_BLOCK = 65_536


class Watcher(Protocol):
    """Receives the rows that change; called in the writing thread."""

    def extend(self, rows: Iterable[int], /) -> None:
        """Receive rows that are about to be written."""

    def settle(self) -> None:
        """Receive the end of the write."""


class Touched(list[int]):
    """The rows that have changed during a scan."""

    def settle(self) -> None:
        """Do nothing: the scan reads the list when it has ended."""


class LiveFactors:
    """A factor matrix with the norms of its rows; one thread writes, any number of threads scan.

    Parameters
    ----------
    matrix : FactorMatrix
        The matrix; afterwards it must be written only through :meth:`set` and :meth:`set_many`.

    Attributes
    ----------
    largest_norm : float
        Upper bound of the norms of all present and past vectors.
    """

    def __init__(self, matrix: FactorMatrix) -> None:
        self.matrix = matrix
        self.largest_norm = max(
            (float(norms.max()) for norms in _blocks_of_norms(matrix.vectors)), default=0.0
        )
        self._inverse_norms: Vectors | None = None
        self._norms_lock = threading.Lock()
        self._lock = threading.Lock()
        self._watchers: tuple[Watcher, ...] = ()
        self._writing: list[int] = []

    @property
    def n_watchers(self) -> int:
        """How many are told of each write."""
        return len(self._watchers)

    def set(self, id: str, vector: ArrayLike) -> int:
        """Replace or append the vector of `id` and return its row; raises as :meth:`set_many`."""
        return int(self.set_many([id], np.asarray(vector, np.float32)[np.newaxis])[0])

    def set_many(self, ids: Sequence[str], vectors: ArrayLike) -> RowNumbers:
        """Replace or append vectors; return their rows.

        Raises
        ------
        ValueError
            As :meth:`FactorMatrix.set_many`; nothing is changed in this case.
        """
        values = np.asarray(vectors, np.float32)
        try:
            rows = self.matrix.set_many(ids, values, self._announce)
            norms = np.sqrt(dots_with_self(values))
            self.largest_norm = max(self.largest_norm, float(norms.max(initial=0.0)))
            self._set_norms(rows, norms)
        finally:
            self._writing = []
        for watcher in self._watchers:
            watcher.settle()
        return rows

    def _announce(self, rows: RowNumbers) -> None:
        # In this order: a watcher that is added before a vector changes either gets its row from
        # `_writing` when it is added, or from this loop.
        self._writing = rows.tolist()
        for watcher in self._watchers:
            watcher.extend(self._writing)

    def inverse_norms(self, n_rows: int) -> Vectors:
        """Return 1 / norm of the first `n_rows` rows, 0 for zero vectors.

        They are for pruning only: the value of a row that is just being appended may be missing
        (0), but such a row is watched.  They are computed at the first call, because many
        deployments never need cosines.
        """
        with self._norms_lock:
            if self._inverse_norms is None:
                blocks = map(_inverse, _blocks_of_norms(self.matrix.vectors))
                self._inverse_norms = np.concatenate([np.zeros(0, np.float32), *blocks])
            inverse = self._inverse_norms
        if len(inverse) < n_rows:
            inverse = np.concatenate([inverse, np.zeros(n_rows - len(inverse), np.float32)])
        return inverse[:n_rows]

    @contextmanager
    def watch(self) -> Iterator[Touched]:
        """Yield a list that collects the rows whose vectors change during the block."""
        touched = Touched()
        self.follow(touched)
        try:
            yield touched
        finally:
            self.unfollow(touched)

    def follow(self, watcher: Watcher) -> None:
        """Notify `watcher` of the write in progress and of all later ones."""
        with self._lock:
            self._watchers = (*self._watchers, watcher)
        watcher.extend(self._writing)

    def unfollow(self, watcher: Watcher) -> None:
        """Stop notifying `watcher`."""
        with self._lock:
            self._watchers = tuple(other for other in self._watchers if other is not watcher)

    def take(self, rows: RowNumbers) -> Vectors:
        """Return a copy of rows, none of them half-written; shape (len(rows), n_factors)."""
        with self.watch() as touched:
            copy = self.matrix.vectors[rows]
            self.mend(copy, rows, touched)
        return copy

    def mend(self, copy: Vectors, rows: RowNumbers, touched: Iterable[int]) -> None:
        """Read again the rows of a copy that may have changed while it was made."""
        for position in np.flatnonzero(among(rows, np.fromiter(set(touched), np.int64))):
            vector = self.matrix.get(self.matrix.ids[int(rows[position])])
            if vector is not None:
                copy[position] = vector

    def _set_norms(self, rows: RowNumbers, norms: Scores) -> None:
        # The vectors are already written: a thread that computes all norms before this block has
        # the lock either reads the new vectors, or its norms are corrected here.
        with self._norms_lock:
            if self._inverse_norms is None:
                return
            missing = int(rows.max(initial=-1)) + 1 - len(self._inverse_norms)
            if missing > 0:
                room = np.zeros(missing + len(self._inverse_norms), np.float32)
                self._inverse_norms = np.concatenate([self._inverse_norms, room])
            self._inverse_norms[rows] = _inverse(norms)


def dots(vectors: NDArray[np.floating], query: NDArray[np.floating]) -> Scores:
    """Return the inner products of rows with one vector, in float64.

    Each row is summed separately, so that its product does not depend on the other rows.
    """
    wide = np.ascontiguousarray(vectors, np.float64)
    return np.asarray(np.einsum("ij,j->i", wide, query.astype(np.float64)))


def cosines(vectors: NDArray[np.floating], query: NDArray[np.floating]) -> Scores:
    """Return the cosines of rows with one vector, in float64; 0 if either vector counts as zero."""
    norms = np.sqrt(dots_with_self(vectors))
    length = float(np.linalg.norm(query.astype(np.float64)))
    products = dots(vectors, query)
    nonzero = (norms > SHORTEST) & (length > SHORTEST)
    return np.divide(products, norms * length, out=np.zeros_like(products), where=nonzero)


def dots_with_self(vectors: NDArray[np.floating]) -> Scores:
    """Return the squared norm of each row, in float64."""
    wide = np.ascontiguousarray(vectors, np.float64)
    return np.asarray(np.einsum("ij,ij->i", wide, wide))


def among(rows: RowNumbers, members: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Return for each of `rows` whether it is in `members`, a short array.

    For a thousand rows and up to 200 members it is two to four times as fast as
    :func:`numpy.isin`.
    """
    if not len(members):
        return np.zeros(len(rows), np.bool_)
    sorted_members = np.sort(members)
    positions = np.searchsorted(sorted_members, rows)
    positions[positions == len(sorted_members)] = 0
    return np.asarray(sorted_members[positions] == rows)


def norms_of(vectors: Vectors) -> Scores:
    """Return the norm of each row, in float64."""
    return np.concatenate([np.zeros(0), *_blocks_of_norms(vectors)])


def _blocks_of_norms(vectors: Vectors) -> Iterator[Scores]:
    for start in range(0, len(vectors), _NORM_BLOCK):
        yield np.sqrt(dots_with_self(vectors[start : start + _NORM_BLOCK]))


def _inverse(norms: Scores) -> Vectors:
    return np.divide(1.0, norms, out=np.zeros_like(norms), where=norms > SHORTEST).astype(
        np.float32
    )
