"""Approximate top-N by one measure: an inverted file, and exactly what has changed since."""

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
_QUERIES_AT_ONCE = 16
_TRAINING_ROWS_PER_CELL = 64
_ADDED_ROWS = 65_536
#: Changed rows that are scanned before they are taken into the inverted file.
_MERGED_ROWS = 1024
#: The longest rows are scanned, so that the length of the others varies less: at most so many.
_LONGEST_SHARE, _LONGEST_ROWS = 0.005, 2000
#: Rows beyond the inverted file's extent that are scanned before a new one is due.
_OUTSIDE_ROWS = 16_384
#: Share of the rows that may change before the cells are due to be made anew.
_CHANGED_SHARE = 0.5
#: The length of unit vectors, and what rounding may add.
_UNIT = 1.001


class IvfIndex:
    """The rows of some factors in cells by one measure, kept up to date as they change.

    Parameters
    ----------
    exact : ExactIndex
        Has the factors, and the answers that recall is measured against.
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
        self._changed = 0
        self.probes: dict[int, int] = {}
        # Before any row is read: what changes while the cells are made is scanned afterwards.
        self._recent = DeltaBuffer(self._factors.matrix.n_factors, self._on_written)
        self._factors.follow(self._recent)

    @property
    def stale(self) -> bool:
        """Whether so much has changed that the cells should be made anew."""
        held = len(self._candidates) if self._candidates else 0
        return self._changed > _CHANGED_SHARE * held or len(self._recent) > _OUTSIDE_ROWS

    @property
    def n_apart(self) -> int:
        """How many rows are scanned beside the cells."""
        return len(self._recent)

    def close(self) -> None:
        """Follow the factors no more."""
        self._factors.unfollow(self._recent)

    def build(self, queries: Vectors, recall: float, seed: int) -> bool:
        """Make the cells, and find out into how many of them a query has to look.

        Parameters
        ----------
        queries : ndarray, shape (q, k)
            Vectors like those that will be asked for; some of them are.
        recall : float
            Share of an exact answer that has to be found.
        seed : int
            Of the samples.

        Returns
        -------
        bool
            Whether it stands.  False where the vectors do not lend themselves to it: such a
            recall would take looking into more than a quarter of the cells.
        """
        random = np.random.default_rng(seed)
        candidates = self._filled(random)
        chosen = random.permutation(len(queries))[:_SAMPLED_QUERIES]
        scanned = self._outside(candidates)
        truth = Truth(_directions(queries[chosen]), self._truth(queries[chosen]), scanned)
        self.probes = truth.probes(candidates, recall)
        self._candidates = candidates
        with self._lock:
            self._recent.refresh(self._factors, self._scaled)
            self._merge(candidates)
        return DEPTHS[0] in self.probes

    def best(self, query: Query) -> Top | None:
        """Answer a query of this measure; None where only an exact scan can."""
        depth = self._depth(query.n + len(query.exclude))
        if depth is None:
            return None
        rows = self._search(direction(query.vector, query.cosine), depth)
        rows.difference_update(query.exclude.tolist())
        found = np.fromiter(rows, np.int64, len(rows))
        score = cosines if self._cosine else dots
        top = top_of(found, score(self._factors.take(found), query.vector), query.n)
        return top if len(top.rows) == query.n else None

    def n_looked_at(self, n: int) -> float:
        """Return how many rows an answer of `n` takes, excluded ones among them."""
        depth = self._depth(n)
        if depth is None or self._candidates is None:
            return math.inf
        return len(self._candidates) * self.probes[depth] / self._candidates.n_cells

    def _depth(self, n: int) -> int | None:
        return next((depth for depth in self.probes if depth >= n), None)

    def _search(self, vector: Vectors, depth: int) -> set[int]:
        """Return the rows to be scored."""
        assert self._candidates is not None
        # First what is kept apart: it may be taken into the cells at any moment.
        rows = set(self._best_recent(vector, depth).tolist())
        with self._lists_lock:
            found = self._candidates.search(vector[np.newaxis], pool(depth), self.probes[depth])
        rows.update(found[0].tolist())
        # What stands for a row where there are too few.
        rows.discard(-1)
        return rows

    def _best_recent(self, vector: Vectors, n: int) -> RowNumbers:
        kept = self._recent.kept
        # Vectors that a row has no more must not take the place of others.
        n += kept.superseded
        if len(kept.rows) <= n:
            return kept.rows
        return kept.rows[np.argpartition(kept.vectors @ vector, -n)[-n:]]

    def _on_written(self) -> None:
        """Have what was written scanned, and take it into the cells when there is much of it."""
        candidates = self._candidates
        if candidates is None:
            return
        with self._lock:
            self._recent.refresh(self._factors, self._scaled)
            if self._recent.n_fresh >= _MERGED_ROWS:
                self._merge(candidates)

    def _merge(self, candidates: Candidates) -> None:
        """Take changed rows into the cells; those beyond what bytes can hold stay apart too."""
        rows, scaled = self._recent.fresh()
        old = rows < len(candidates)
        # All that is new is here, up to a row that is being appended at this moment.
        order = np.argsort(rows)[old.sum() :]
        next_rows = len(candidates) + np.arange(len(order))
        new = order[rows[order] == next_rows]
        with self._lists_lock.alone():
            candidates.replace(rows[old], scaled[old])
            candidates.add(scaled[new])
        self._changed += int(old.sum()) + len(new)
        held = rows < len(candidates)
        self._recent.extend(rows[~held].tolist())
        self._recent.keep(~held | ~candidates.holds(scaled))

    def _filled(self, random: np.random.Generator) -> Candidates:
        vectors = self._factors.matrix.vectors
        n_cells = 1 << round(math.log2(max(len(vectors), 1)) / 2)
        sample = random.choice(
            len(vectors), min(len(vectors), _TRAINING_ROWS_PER_CELL * n_cells), replace=False
        )
        extent = self._extent(vectors)
        candidates = Candidates(self._scaled(vectors[sample]), extent, n_cells)
        for start in range(0, len(vectors), _ADDED_ROWS):
            scaled = self._scaled(vectors[start : start + _ADDED_ROWS])
            candidates.add(scaled)
            self._recent.extend((start + np.flatnonzero(~extent.holds(scaled))).tolist())
        return candidates

    def _outside(self, candidates: Candidates) -> RowNumbers:
        """Return the rows that stay apart, as they reach too far."""
        with self._lock:
            self._recent.refresh(self._factors, self._scaled)
            rows, scaled = self._recent.fresh()
            return rows[~candidates.holds(scaled)]

    def _extent(self, vectors: Vectors) -> Extent:
        """Return what all rows keep to, but for a few of the longest."""
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
        """Return vectors whose inner product with a query is what rows are ordered by."""
        if not self._cosine:
            return vectors
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        return np.asarray(np.divide(vectors, norms, out=np.zeros_like(vectors), where=norms > 0))

    def _truth(self, queries: Vectors) -> RowNumbers:
        asked = [Query(query, DEPTHS[-1], cosine=self._cosine) for query in queries]
        tops: list[Top] = []
        # A few at a time: requests wait for the same cores.
        for start in range(0, len(asked), _QUERIES_AT_ONCE):
            tops += self._exact.top_n(asked[start : start + _QUERIES_AT_ONCE])
        return np.stack([top.rows for top in tops])


def _directions(queries: Vectors) -> Vectors:
    return np.stack([direction(query) for query in queries])
