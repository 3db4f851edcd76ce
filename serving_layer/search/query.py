"""Queries to an index, their results, and searches with a filter."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from serving_layer.search.live import SHORTEST, RowNumbers, Scores, Vectors

#: Up to this many scores, sorting all is faster than selecting the best first.
_SORT_ALL = 1000
#: Factor by which a search is widened if too few rows pass the filter.
_WIDEN = 8


@dataclass(frozen=True, eq=False)
class Query:
    """A query to an index.

    Attributes
    ----------
    vector : ndarray, shape (n_factors,)
        The query vector; finite.
    n : int
        Number of rows requested.
    exclude : array of int
        Rows that must not be in the result, in any order.
    cosine : bool
        Whether rows are compared by cosine; by inner product otherwise.
    """

    vector: NDArray[np.floating]
    n: int
    exclude: NDArray[np.integer] = field(default_factory=lambda: np.zeros(0, np.int64))
    cosine: bool = False


class Top(NamedTuple):
    """Rows and their scores, by descending score and ascending row."""

    rows: RowNumbers
    scores: Scores


class Search(Protocol):
    """Answers queries of any number of threads, one query per call."""

    def ask(self, query: Query) -> Top:
        """Return the best rows."""


def direction(vector: NDArray[np.floating], cosine: bool = False) -> Vectors:
    """Return a query scaled to length 1 in float32; zero if it counts as a zero vector.

    Scaling does not change the order of the rows, and prevents overflow.
    """
    exact = vector.astype(np.float64)
    largest = float(np.abs(exact).max(initial=0.0))
    if largest == 0 or (cosine and float(np.linalg.norm(exact)) <= SHORTEST):
        return np.zeros(len(exact), np.float32)
    scaled = exact / largest
    return np.asarray(scaled / np.linalg.norm(scaled), np.float32)


def top_of(rows: RowNumbers, scores: Scores, n: int) -> Top:
    """Return the `n` best rows; rows with the score NaN are left out.

    Parameters
    ----------
    rows : array of int64, shape (m,)
        Distinct row numbers.
    scores : array of float64, shape (m,)
        Their scores.
    n : int
        Number of rows to return; fewer if there are fewer.
    """
    candidates = np.flatnonzero(~np.isnan(scores))
    if len(candidates) > max(n, _SORT_ALL) and n > 0:
        known = scores[candidates]
        least = np.partition(known, len(known) - n)[len(known) - n]
        candidates = candidates[known >= least]
    order = np.lexsort((rows[candidates], -scores[candidates]))[:n]
    best = candidates[order]
    return Top(rows[best], scores[best])


def search_allowed(
    search: Callable[[int], Top], n: int, allowed: Callable[[RowNumbers], NDArray[np.bool_]]
) -> Top:
    """Return the `n` best rows that pass a filter; widen the search until there are enough.

    Parameters
    ----------
    search : callable
        Returns the given number of best rows; fewer mean that there are no more.
    n : int
        Number of rows to return.
    allowed : callable
        Returns for row numbers which of them may be in the result.
    """
    depth = n
    while True:
        top = search(depth)
        positions = np.flatnonzero(allowed(top.rows))[:n]
        if len(positions) == n or len(top.rows) < depth:
            return Top(top.rows[positions], top.scores[positions])
        depth *= _WIDEN
