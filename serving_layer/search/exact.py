"""Exact top-N by a pruned scan of the complete matrix.

One pass in float32 computes the scores block by block, in blocks that fit the CPU's cache, and
keeps only the maximum of each *group* of rows.  At least n rows reach the n-th largest of these
maxima, t, so that only groups with a maximum near or above t can contain one of the n best rows.
Only the rows of these groups are then scored in float64 and sorted.

Error bound: an inner product of k terms in float32 differs from the exact one by at most
E = k·u/(1 - k·u) times both norms (u = 2⁻²⁴), for every order of summation (Higham, Accuracy and
Stability of Numerical Algorithms, section 3.1).  At least n rows have an exact score of at least
t - E, so each of the n best has a computed score of at least t - 2E.  The answer therefore equals
that of scoring every row in float64.  It does not depend on the queries that share the pass, the
number of threads, or the BLAS.  A row that is written during the pass is scored by its old or its
new vector, never by a mixture.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from serving_layer.search.live import (
    LiveFactors,
    RowNumbers,
    Scores,
    Vectors,
    among,
    cosines,
    dots,
)
from serving_layer.search.query import Query, Top, direction, top_of

#: Bytes of a block's scores, which must fit the CPU's cache.
_SCORE_BYTES = 1024 * 1024
_BLOCK_ROWS = (8192, 32_768)
#: Up to this many factors, OpenBLAS multiplies rows by queries faster than queries by rows (1.5
#: to 2 times at 50 factors); above, it is slower by as much.
_ROWS_FIRST_FACTORS = 100
#: Largest group.  Larger groups give fewer maxima to search, and more rows to score again.
_GROUP_ROWS = 128
#: Smallest number of groups per requested row; fewer would prune little.
_GROUPS_PER_RESULT = 8
#: Bytes of all group maxima of one pass; queries that need more are answered in several.
MAXIMA_BYTES = 64 * 1024 * 1024
#: Rows scored again at once.
_RESCORE_ROWS = 16_384
_UNIT_ROUNDOFF = 2.0**-24


@dataclass(frozen=True)
class _Plan:
    """The division of the rows into blocks and groups.

    Row ``b * block + g + i * groups`` is member i of group g of block b: the members of a group
    are interleaved, so that the maxima of all groups are computed by long vector operations.
    """

    n_rows: int
    block: int
    groups: int

    @property
    def n_blocks(self) -> int:
        return -(-self.n_rows // self.block)

    @property
    def members(self) -> int:
        return self.block // self.groups

    def rows_of(self, groups: RowNumbers) -> RowNumbers:
        """Return all rows of the given groups."""
        first = groups // self.groups * self.block + groups % self.groups
        rows = (first[:, np.newaxis] + self.groups * np.arange(self.members)).ravel()
        return np.asarray(rows[rows < self.n_rows])


@dataclass(frozen=True)
class _Scan:
    """Input and output of one pass.

    Attributes
    ----------
    queries : ndarray of float32, shape (q, k)
        Scaled to length 1, so that no product overflows; cosine queries come last.
    n_products : int
        Number of queries by inner product.
    inverse_norms : ndarray of float32, shape (rows,), or None
        None if no query is by cosine.
    excluded : (array, array)
        Query number and row of every exclusion, by ascending row.
    maxima : ndarray of float32, shape (q, blocks, groups)
        The result: the largest score in each group.
    """

    plan: _Plan
    vectors: Vectors
    inverse_norms: Vectors | None
    queries: Vectors
    n_products: int
    excluded: tuple[RowNumbers, RowNumbers]
    maxima: NDArray[np.float32]


@dataclass(frozen=True)
class _Changed:
    """The rows written during a pass, and their groups.

    Attributes
    ----------
    rows, groups : ndarray of int64
        Distinct rows written before the scoring in float64 began, and their groups.
    touched : list of int
        All rows written since the pass began; it still grows.
    """

    rows: RowNumbers
    groups: RowNumbers
    touched: list[int]

    @classmethod
    def of(cls, plan: _Plan, touched: list[int]) -> _Changed:
        rows = np.fromiter(set(touched), np.int64)
        rows = rows[rows < plan.n_rows]
        groups = rows // plan.block * plan.groups + rows % plan.block % plan.groups
        return cls(rows, groups, touched)


class ExactIndex:
    """Exact top-N over factors that change.

    A thread pool of this class shares a pass, so BLAS's own threads would only compete for the
    cores: BLAS is set to one thread for the whole process.

    Parameters
    ----------
    factors : LiveFactors
        The factors to search.
    workers : int, optional
        Threads that share a pass; one for each core by default.
    maxima_bytes : int
        Of all group maxima of one pass.
    """

    def __init__(
        self, factors: LiveFactors, workers: int | None = None, maxima_bytes: int = MAXIMA_BYTES
    ) -> None:
        self.factors = factors
        self._maxima_bytes = maxima_bytes
        self._workers = workers or len(os.sched_getaffinity(0))
        self._pool = ThreadPoolExecutor(max(1, self._workers - 1), "top-n")
        threadpool_limits(limits=1, user_api="blas")

    def top_n(self, queries: Sequence[Query]) -> list[Top]:
        """Answer queries in one pass, or in several if one would take too much memory.

        Returns
        -------
        list of Top
            For each query its best rows with their float64 scores, by descending score and
            ascending row; fewer than requested if there are fewer.
        """
        answers: dict[int, Top] = {}
        remaining = sorted(range(len(queries)), key=lambda number: queries[number].n)
        while remaining:
            vectors = self.factors.matrix.vectors
            wanted = [queries[at].n for at in remaining]
            at_once = _queries_at_once(len(vectors), wanted, self._maxima_bytes)
            part, remaining = remaining[:at_once], remaining[at_once:]
            part.sort(key=lambda at: queries[at].cosine)
            tops = self._pass([queries[at] for at in part])
            answers.update(zip(part, tops, strict=True))
        return [answers[number] for number in range(len(queries))]

    def scores(self, query: Query) -> Scores:
        """Return the float64 score of every row, NaN for excluded ones; shape (n_rows,)."""
        score = cosines if query.cosine else dots
        n_rows = len(self.factors.matrix)
        scores = np.empty(n_rows)
        for start in range(0, n_rows, _RESCORE_ROWS):
            rows = np.arange(start, min(start + _RESCORE_ROWS, n_rows))
            scores[rows] = score(self.factors.take(rows), query.vector)
        scores[_inside(query.exclude, n_rows)] = np.nan
        return scores

    def _pass(self, queries: list[Query]) -> list[Top]:
        with self.factors.watch() as touched:
            vectors = self.factors.matrix.vectors
            if not len(vectors):
                return [top_of(np.zeros(0, np.int64), np.zeros(0), 0) for _ in queries]
            scan = self._scan(vectors, queries)
            self._run(scan)
            changed = _Changed.of(scan.plan, touched)
            return [
                self._finish(scan, number, query, changed) for number, query in enumerate(queries)
            ]

    def _scan(self, vectors: Vectors, queries: list[Query]) -> _Scan:
        plan = _plan(len(vectors), len(queries), max(query.n for query in queries))
        n_products = sum(not query.cosine for query in queries)
        by_cosine = n_products < len(queries)
        return _Scan(
            plan=plan,
            vectors=vectors,
            inverse_norms=self.factors.inverse_norms(len(vectors)) if by_cosine else None,
            queries=np.stack([direction(query.vector, query.cosine) for query in queries]),
            n_products=n_products,
            excluded=_exclusions(queries, len(vectors)),
            maxima=np.empty((len(queries), plan.n_blocks, plan.groups), np.float32),
        )

    def _run(self, scan: _Scan) -> None:
        """Share the blocks among the workers, of which this thread is one."""
        # Each worker takes the next block when it is done with one, so that a worker that is
        # descheduled takes fewer blocks.
        blocks = iter(range(scan.plan.n_blocks))
        n_others = min(self._workers, scan.plan.n_blocks) - 1
        others = [self._pool.submit(_scan_blocks, scan, blocks) for _ in range(n_others)]
        _scan_blocks(scan, blocks)
        for other in others:
            other.result()

    def _finish(self, scan: _Scan, number: int, query: Query, changed: _Changed) -> Top:
        """Score in float64 the rows that may be among the best, and sort them."""
        maxima = scan.maxima[number].reshape(-1)
        # A half-written vector may have raised its group's maximum, which then cannot count for
        # the threshold; or its score may be too low, so that it is always scored again.
        proven = maxima.copy()
        proven[changed.groups] = -np.inf
        nth = len(proven) - query.n
        reached = float(np.partition(proven, nth)[nth]) if nth >= 0 else -np.inf
        near = maxima >= reached - 2 * self._error(query)
        hidden = changed.rows[~near[changed.groups]]
        rows = np.concatenate([scan.plan.rows_of(np.flatnonzero(near)), hidden])
        rows = rows[~among(rows, query.exclude)]
        score = cosines if query.cosine else dots
        scores = np.empty(len(rows))
        for start in range(0, len(rows), _RESCORE_ROWS):
            part = slice(start, start + _RESCORE_ROWS)
            copy = scan.vectors[rows[part]]
            self.factors.mend(copy, rows[part], changed.touched)
            scores[part] = score(copy, query.vector)
        return top_of(rows, scores, query.n)

    def _error(self, query: Query) -> float:
        """Return a bound of the error of a float32 score, for a query of length 1."""
        # Four more terms: rounding of the query, and a cosine's norm, inverse and product.
        terms = len(query.vector) + 4
        gamma = terms * _UNIT_ROUNDOFF / (1 - terms * _UNIT_ROUNDOFF)
        underflow = terms * float(np.finfo(np.float32).tiny)
        return gamma * (1.0 if query.cosine else self.factors.largest_norm) + underflow


def _scan_blocks(scan: _Scan, blocks: Iterator[int]) -> None:
    """Compute the group maxima of blocks from a shared iterator."""
    plan, n_queries = scan.plan, len(scan.queries)
    rows_first = scan.vectors.shape[1] <= _ROWS_FIRST_FACTORS
    scores = np.empty(
        (plan.block, n_queries) if rows_first else (n_queries, plan.block), np.float32
    )
    by_query = scores.T if rows_first else scores
    query_numbers, rows = scan.excluded
    cuts = np.searchsorted(rows, np.arange(plan.n_blocks + 1) * plan.block)
    for block in blocks:
        start = block * plan.block
        part = slice(start, start + plan.block)
        filled = len(scan.vectors[part])
        if rows_first:
            np.matmul(scan.vectors[part], scan.queries.T, out=scores[:filled])
        else:
            np.matmul(scan.queries, scan.vectors[part].T, out=scores[:, :filled])
        if scan.inverse_norms is not None:
            by_query[scan.n_products :, :filled] *= scan.inverse_norms[part]
        by_query[:, filled:] = -np.inf
        inside = slice(cuts[block], cuts[block + 1])
        by_query[query_numbers[inside], rows[inside] - start] = -np.inf
        if rows_first:
            members = scores.reshape(plan.members, plan.groups, n_queries)
            scan.maxima[:, block] = members.max(axis=0).T
        else:
            members = scores.reshape(n_queries, plan.members, plan.groups)
            np.max(members, axis=1, out=scan.maxima[:, block])


def _plan(n_rows: int, n_queries: int, n: int) -> _Plan:
    smallest, largest = _BLOCK_ROWS
    fitting = _power_of_two(_SCORE_BYTES // (4 * n_queries))
    block = min(max(fitting, smallest), largest, 2 * _power_of_two(n_rows))
    return _Plan(n_rows, block, block // min(_members(n_rows, n), block))


def _members(n_rows: int, n: int) -> int:
    """Return the number of rows of a group, for queries for the `n` best."""
    return _power_of_two(min(_GROUP_ROWS, n_rows // (_GROUPS_PER_RESULT * n)))


def _queries_at_once(n_rows: int, wanted: Sequence[int], maxima_bytes: int) -> int:
    """Return how many of the queries, whose numbers of rows ascend, fit into one pass."""
    bytes_each = [4 * n_rows // _members(n_rows, n) for n in wanted]
    fitting = sum(at * each <= maxima_bytes for at, each in enumerate(bytes_each, 1))
    return max(1, fitting)


def _power_of_two(number: int) -> int:
    """Return the largest power of two up to `number`, at least 1."""
    return 1 << max(number.bit_length() - 1, 0)


def _exclusions(queries: Sequence[Query], n_rows: int) -> tuple[RowNumbers, RowNumbers]:
    excluded = [_inside(query.exclude, n_rows) for query in queries]
    query_numbers = np.repeat(np.arange(len(queries)), [len(rows) for rows in excluded])
    rows = np.concatenate(excluded)
    order = np.argsort(rows, kind="stable")
    return query_numbers[order], rows[order]


def _inside(rows: NDArray[np.integer], n_rows: int) -> RowNumbers:
    """Drop numbers outside the rows: of unknown ids, and of rows appended during the pass."""
    return rows[(rows >= 0) & (rows < n_rows)].astype(np.int64)
