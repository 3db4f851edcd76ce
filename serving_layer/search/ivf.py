"""Approximate top-N by one measure: an inverted file, plus an exact scan of changed rows."""

from __future__ import annotations

import math
import threading

import numpy as np

from serving_layer.search.candidates import Candidates, Extent
from serving_layer.search.delta_buffer import DeltaBuffer
from serving_layer.search.exact import ExactIndex
from serving_layer.search.live import RowNumbers, Vectors, cosines, dots, norms_of
from serving_layer.search.query import Query, Top, direction, top_of
from serving_layer.search.read_write_lock import ReadWriteLock
from serving_layer.search.recall import DEPTHS, Truth, pool

_SAMPLED_QUERIES = 256
_QUERIES_PER_SCAN = 16
_TRAINING_ROWS_PER_CELL = 64
_ROWS_PER_ADD = 65_536
#: Number of changed rows at which they are merged into the inverted file.
_MERGED_ROWS = 1024
#: Bounds of the number of longest rows that are scanned, so that the others vary less in length.
_LONGEST_SHARE, _LONGEST_ROWS = 0.005, 2000
#: Number of rows outside the quantizer's bounds at which a rebuild is due.
_OUTSIDE_ROWS = 16_384
#: Share of changed rows at which a rebuild is due.
_CHANGED_SHARE = 0.5
#: The length of unit vectors, with room for rounding.
_UNIT = 1.001


class IvfIndex:
    """An inverted file of factors for one measure, which follows their changes.

    Parameters
    ----------
    exact : ExactIndex
        Has the factors, and the exact answers against which recall is measured.
    cosine : bool
        Whether rows are compared by cosine; by inner product otherwise.
    """

    def __init__(self, exact: ExactIndex, cosine: bool) -> None:
        self._exact = exact
        self._factors = exact.factors
        self._cosine = cosine
        # Guards the buffer of changed rows; acquire before `_lists_lock`.
        self._lock = threading.Lock()
        self._lists_lock = ReadWriteLock()
        self._candidates: Candidates | None = None
        self._n_changed = 0
        self.probes: dict[int, int] = {}
        # Created before any row is read, so that changes during the build are scanned.
        self._changes = DeltaBuffer(self._factors.matrix.n_factors, self._on_written)
        self._factors.follow(self._changes)

    @property
    def stale(self) -> bool:
        """Whether a rebuild is due because of the number of changed rows."""
        held = len(self._candidates) if self._candidates else 0
        return self._n_changed > _CHANGED_SHARE * held or len(self._changes) > _OUTSIDE_ROWS

    @property
    def n_apart(self) -> int:
        """How many rows are scanned beside the cells."""
        return len(self._changes)

    def close(self) -> None:
        """Stop following the factors."""
        self._factors.unfollow(self._changes)

    def build(self, queries: Vectors, recall: float, seed: int) -> bool:
        """Fill the cells, and determine the number of cells that a query must search.

        Parameters
        ----------
        queries : ndarray, shape (q, k)
            Typical query vectors, of which a sample is searched.
        recall : float
            Smallest share of the exact answer that must be found.
        seed : int
            Seed of the samples.

        Returns
        -------
        bool
            Whether the index can be used.  False if the recall would take searching more than a
            quarter of the cells.
        """
        random = np.random.default_rng(seed)
        candidates = self._filled(random)
        chosen = random.permutation(len(queries))[:_SAMPLED_QUERIES]
        scanned = self._outside(candidates)
        truth = Truth(_directions(queries[chosen]), self._truth(queries[chosen]), scanned)
        self.probes = truth.probes(candidates, recall)
        self._candidates = candidates
        with self._lock:
            self._changes.refresh(self._factors, self._scaled)
            self._merge(candidates)
        return DEPTHS[0] in self.probes

    def best(self, query: Query) -> Top | None:
        """Answer a query by this measure; None if it takes an exact scan."""
        depth = self._depth(query.n + len(query.exclude))
        if depth is None:
            return None
        rows = self._search(direction(query.vector, query.cosine), depth)
        rows.difference_update(query.exclude.tolist())
        candidates = np.fromiter(rows, np.int64, len(rows))
        score = cosines if self._cosine else dots
        top = top_of(candidates, score(self._factors.take(candidates), query.vector), query.n)
        return top if len(top.rows) == query.n else None

    def n_scored(self, n: int) -> float:
        """Return the number of rows scored for a query of `n` rows, exclusions included."""
        depth = self._depth(n)
        if depth is None or self._candidates is None:
            return math.inf
        return len(self._candidates) * self.probes[depth] / self._candidates.n_cells

    def _depth(self, n: int) -> int | None:
        return next((depth for depth in self.probes if depth >= n), None)

    def _search(self, vector: Vectors, depth: int) -> set[int]:
        """Return the candidate rows, to be scored exactly."""
        assert self._candidates is not None
        # The buffer is read first: its rows may be merged into the cells at any time.
        rows = set(self._best_changed(vector, depth).tolist())
        with self._lists_lock:
            in_cells = self._candidates.search(vector[np.newaxis], pool(depth), self.probes[depth])
        rows.update(in_cells[0].tolist())
        # -1 is the padding.
        rows.discard(-1)
        return rows

    def _best_changed(self, vector: Vectors, n: int) -> RowNumbers:
        changed = self._changes.snapshot
        # Superseded vectors must not displace others.
        n += changed.superseded
        if len(changed.rows) <= n:
            return changed.rows
        return changed.rows[np.argpartition(changed.vectors @ vector, -n)[-n:]]

    def _on_written(self) -> None:
        """Refresh the buffer, and merge it into the cells when it is large."""
        candidates = self._candidates
        if candidates is None:
            return
        with self._lock:
            self._changes.refresh(self._factors, self._scaled)
            if self._changes.n_fresh >= _MERGED_ROWS:
                self._merge(candidates)

    def _merge(self, candidates: Candidates) -> None:
        """Merge changed rows into the cells; rows outside the bounds also stay in the buffer."""
        rows, scaled = self._changes.fresh()
        old = rows < len(candidates)
        # New rows are contiguous, up to one that is being appended at this moment.
        order = np.argsort(rows)[old.sum() :]
        next_rows = len(candidates) + np.arange(len(order))
        new = order[rows[order] == next_rows]
        with self._lists_lock.exclusive():
            candidates.replace(rows[old], scaled[old])
            candidates.add(scaled[new])
        self._n_changed += int(old.sum()) + len(new)
        held = rows < len(candidates)
        self._changes.extend(rows[~held].tolist())
        self._changes.keep(~held | ~candidates.holds(scaled))

    def _filled(self, random: np.random.Generator) -> Candidates:
        vectors = self._factors.matrix.vectors
        n_cells = 1 << round(math.log2(max(len(vectors), 1)) / 2)
        sample = random.choice(
            len(vectors), min(len(vectors), _TRAINING_ROWS_PER_CELL * n_cells), replace=False
        )
        extent = self._extent(vectors)
        candidates = Candidates(self._scaled(vectors[sample]), extent, n_cells)
        for start in range(0, len(vectors), _ROWS_PER_ADD):
            scaled = self._scaled(vectors[start : start + _ROWS_PER_ADD])
            candidates.add(scaled)
            self._changes.extend((start + np.flatnonzero(~extent.holds(scaled))).tolist())
        return candidates

    def _outside(self, candidates: Candidates) -> RowNumbers:
        """Return the rows that stay in the buffer because they are outside the bounds."""
        with self._lock:
            self._changes.refresh(self._factors, self._scaled)
            rows, scaled = self._changes.fresh()
            return rows[~candidates.holds(scaled)]

    def _extent(self, vectors: Vectors) -> Extent:
        """Return bounds of all rows except a few of the longest."""
        if self._cosine:
            ones = np.full(vectors.shape[1], _UNIT, np.float32)
            return Extent(-ones, ones, _UNIT)
        lengths = norms_of(vectors)
        rank = len(lengths) - 1 - int(min(_LONGEST_SHARE * len(lengths), _LONGEST_ROWS))
        longest = float(np.partition(lengths, rank)[rank])
        held = (lengths <= longest)[:, np.newaxis]
        low = vectors.min(axis=0, where=held, initial=np.inf)
        high = vectors.max(axis=0, where=held, initial=-np.inf)
        return Extent(low, high, longest)

    def _scaled(self, vectors: Vectors) -> Vectors:
        """Return vectors whose inner products with a query order the rows by this measure."""
        if not self._cosine:
            return vectors
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        return np.asarray(np.divide(vectors, norms, out=np.zeros_like(vectors), where=norms > 0))

    def _truth(self, queries: Vectors) -> RowNumbers:
        all_queries = [Query(query, DEPTHS[-1], cosine=self._cosine) for query in queries]
        tops: list[Top] = []
        # In small parts, because requests need the same cores.
        for start in range(0, len(all_queries), _QUERIES_PER_SCAN):
            tops += self._exact.top_n(all_queries[start : start + _QUERIES_PER_SCAN])
        return np.stack([top.rows for top in tops])


def _directions(queries: Vectors) -> Vectors:
    return np.stack([direction(query) for query in queries])
