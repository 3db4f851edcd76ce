"""Factors that are scanned while they change: every vector that counts is a whole one.

NumPy and BLAS read without any lock, so that a scan may meet a row half of which is the old
vector and half the new.  :meth:`LiveFactors.watch` tells a scan afterwards which rows that may
have happened to, so that those few can be read again.
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

#: A vector shorter than this counts as zero where an angle is asked for: float32 cannot tell.
SHORTEST = 1e-15

_NORM_BLOCK = 65_536


class Watcher(Protocol):
    """Called with the rows that change, on the thread that writes."""

    def extend(self, rows: Iterable[int], /) -> None:
        """Take note of rows that are about to be written."""

    def settle(self) -> None:
        """Learn that they have been written."""


class Touched(list[int]):
    """Rows that have changed during a scan."""

    def settle(self) -> None:
        """Do nothing: the scan asks when it has ended."""


class LiveFactors:
    """A factor matrix with the norms of its rows; one thread writes, any number scan.

    Parameters
    ----------
    matrix : FactorMatrix
        Taken over: from now on it is written through :meth:`set` and :meth:`set_many` alone.

    Attributes
    ----------
    largest_norm : float
        No vector of the matrix is, or was, longer.
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
        """Replace the vector of `id`, or append it; return its row; as :meth:`set_many`."""
        return int(self.set_many([id], np.asarray(vector, np.float32)[np.newaxis])[0])

    def set_many(self, ids: Sequence[str], vectors: ArrayLike) -> RowNumbers:
        """Replace or append vectors; return their rows.

        Raises
        ------
        ValueError
            As :meth:`FactorMatrix.set_many`; nothing has changed then.
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
        # The order matters: whoever starts to watch before a vector changes either finds its
        # row among those being written, or is told of it.
        self._writing = rows.tolist()
        for watcher in self._watchers:
            watcher.extend(self._writing)

    def inverse_norms(self, n_rows: int) -> Vectors:
        """Return 1 / norm of the first `n_rows` rows, 0 where a vector is zero.

        For pruning: a row that was appended a moment ago may have none yet, and is watched.
        They are computed when they are first asked for: many deployments never ask for cosines.
        """
        with self._norms_lock:
            if self._inverse_norms is None:
                blocks = map(_inverse, _blocks_of_norms(self.matrix.vectors))
                self._inverse_norms = np.concatenate([np.zeros(0, np.float32), *blocks])
            found = self._inverse_norms
        if len(found) < n_rows:
            found = np.concatenate([found, np.zeros(n_rows - len(found), np.float32)])
        return found[:n_rows]

    @contextmanager
    def watch(self) -> Iterator[Touched]:
        """Give a list that gathers the rows whose vectors change during the block."""
        touched = Touched()
        self.follow(touched)
        try:
            yield touched
        finally:
            self.unfollow(touched)

    def follow(self, watcher: Watcher) -> None:
        """Tell `watcher` of every write that has not ended yet, and of all that follow."""
        with self._lock:
            self._watchers = (*self._watchers, watcher)
        watcher.extend(self._writing)

    def unfollow(self, watcher: Watcher) -> None:
        """Tell `watcher` no more."""
        with self._lock:
            self._watchers = tuple(one for one in self._watchers if one is not watcher)

    def take(self, rows: RowNumbers) -> Vectors:
        """Return a copy of some rows, shape (len(rows), n_factors), each of them whole."""
        with self.watch() as touched:
            copy = self.matrix.vectors[rows]
            self.mend(copy, rows, touched)
        return copy

    def mend(self, copy: Vectors, rows: RowNumbers, touched: Iterable[int]) -> None:
        """Read again those rows of a copy that may have changed while it was made."""
        for at in np.flatnonzero(among(rows, np.fromiter(set(touched), np.int64))):
            vector = self.matrix.get(self.matrix.ids[int(rows[at])])
            if vector is not None:
                copy[at] = vector

    def _set_norms(self, rows: RowNumbers, norms: Scores) -> None:
        # The vectors stand already: who computes all norms before this has the lock finds them, or
        # is put right here.
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

    Each row is summed by itself, so that a product never depends on which rows stand beside it.
    """
    wide = np.ascontiguousarray(vectors, np.float64)
    return np.asarray(np.einsum("ij,j->i", wide, query.astype(np.float64)))


def cosines(vectors: NDArray[np.floating], query: NDArray[np.floating]) -> Scores:
    """Return the cosines of rows with one vector, in float64; 0 where either counts as zero."""
    norms = np.sqrt(dots_with_self(vectors))
    length = float(np.linalg.norm(query.astype(np.float64)))
    products = dots(vectors, query)
    nonzero = (norms > SHORTEST) & (length > SHORTEST)
    return np.divide(products, norms * length, out=np.zeros_like(products), where=nonzero)


def dots_with_self(vectors: NDArray[np.floating]) -> Scores:
    """Return the squared norm of each row, in float64."""
    wide = np.ascontiguousarray(vectors, np.float64)
    return np.asarray(np.einsum("ij,ij->i", wide, wide))


def among(rows: RowNumbers, some: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Tell for each of `rows` whether it is among `some`, which are not many.

    For the thousand rows of an answer and up to 200 others two to four times as fast as
    :func:`numpy.isin`.
    """
    if not len(some):
        return np.zeros(len(rows), np.bool_)
    ascending = np.sort(some)
    at = np.searchsorted(ascending, rows)
    at[at == len(ascending)] = 0
    return np.asarray(ascending[at] == rows)


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
