"""What is asked of an index, what it answers, and pages that pass a filter."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from serving_layer.search.live import SHORTEST, RowNumbers, Scores, Vectors

#: Up to so many scores sorting is faster than to find out first which ones to sort.
_SORTED_WHOLE = 1000
#: How many times more rows are asked for where too few pass a filter.
_WIDEN = 8


@dataclass(frozen=True, eq=False)
class Query:
    """One question to an index.

    Attributes
    ----------
    vector : ndarray, shape (n_factors,)
        What the rows are compared with; finite.
    n : int
        How many rows are wanted.
    exclude : array of int
        Rows that may not be in the answer, in any order.
    cosine : bool
        Whether rows are compared by cosine; by inner product otherwise.
    """

    vector: NDArray[np.floating]
    n: int
    exclude: NDArray[np.integer] = field(default_factory=lambda: np.zeros(0, np.int64))
    cosine: bool = False


class Top(NamedTuple):
    """Rows and their scores: the highest score first, of equal ones the lower row."""

    rows: RowNumbers
    scores: Scores


class Search(Protocol):
    """Answers one question at a time, of any number of threads."""

    def ask(self, query: Query) -> Top:
        """Return the best rows."""


def direction(vector: NDArray[np.floating], cosine: bool = False) -> Vectors:
    """Return a query at length 1 in float32; what counts as a zero vector becomes zero.

    The order of the rows stays the same, and no product can overflow.
    """
    exact = vector.astype(np.float64)
    largest = float(np.abs(exact).max(initial=0.0))
    if largest == 0 or (cosine and float(np.linalg.norm(exact)) <= SHORTEST):
        return np.zeros(len(exact), np.float32)
    scaled = exact / largest
    return np.asarray(scaled / np.linalg.norm(scaled), np.float32)


def top_of(rows: RowNumbers, scores: Scores, n: int) -> Top:
    """Return the `n` best of scored rows; rows whose score is NaN are no candidates.

    Parameters
    ----------
    rows : array of int64, shape (m,)
        Row numbers, all different.
    scores : array of float64, shape (m,)
        Their scores.
    n : int
        How many; fewer come back where there are fewer.
    """
    candidates = np.flatnonzero(~np.isnan(scores))
    if len(candidates) > max(n, _SORTED_WHOLE) and n > 0:
        found = scores[candidates]
        least = np.partition(found, len(found) - n)[len(found) - n]
        candidates = candidates[found >= least]
    order = np.lexsort((rows[candidates], -scores[candidates]))[:n]
    best = candidates[order]
    return Top(rows[best], scores[best])


def search_allowed(
    search: Callable[[int], Top], n: int, allowed: Callable[[RowNumbers], NDArray[np.bool_]]
) -> Top:
    """Return the `n` best rows that pass a filter, looking further down until there are enough.

    Parameters
    ----------
    search : callable
        Returns the best rows, as many as it is told; fewer mean that there are no more.
    n : int
        How many rows that pass are wanted.
    allowed : callable
        Tells for row numbers which of them may be in the answer.
    """
    asked = n
    while True:
        found = search(asked)
        passed = np.flatnonzero(allowed(found.rows))[:n]
        if len(passed) == n or len(found.rows) < asked:
            return Top(found.rows[passed], found.scores[passed])
        asked *= _WIDEN
