"""Determines the number of cells to search, from queries with known exact answers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import count

import numpy as np
from numpy.typing import NDArray

from serving_layer.search.candidates import Candidates
from serving_layer.search.live import RowNumbers, Vectors

#: Ranks down to which the recall is guaranteed; longer results are exact.
DEPTHS = (10, 30, 100, 300)
#: Recall at a depth is measured on this many deepest ranks: lower ranks are easier to find, and
#: may be taken by known items.
_MEASURED_RANKS = 10
#: Standard errors by which the measured recall must exceed the required one (95 % confidence).
_STANDARD_ERRORS = 1.645
#: Searching a larger share of the cells is no faster than an exact scan.
_LARGEST_SHARE = 0.25


@dataclass(frozen=True)
class Truth:
    """Queries with their exact answers.

    Attributes
    ----------
    queries : ndarray of float32, shape (q, k)
        Queries of length 1.
    rows : ndarray of int64, shape (q, max(DEPTHS))
        The best rows of each query, by descending score.
    scanned : ndarray of int64
        Rows that are scanned exactly and so always found.
    """

    queries: Vectors
    rows: RowNumbers
    scanned: RowNumbers

    def probes(self, candidates: Candidates, recall: float) -> dict[int, int]:
        """Return the number of cells to search for each depth at which the recall is reached.

        Parameters
        ----------
        candidates : Candidates
            The inverted file.
        recall : float
            Smallest share of the exact answer among :func:`pool` candidates.
        """
        steps = _steps(int(_LARGEST_SHARE * candidates.n_cells))
        n_probes: dict[int, int] = {}
        for depth in DEPTHS:
            # A greater depth takes at least as many cells.
            for n_probe in steps[steps.index(max(n_probes.values(), default=1)) :]:
                if self._recall_bound(candidates, depth, n_probe) >= recall:
                    n_probes[depth] = n_probe
                    break
        return n_probes

    def _recall_bound(self, candidates: Candidates, depth: int, n_probe: int) -> float:
        """Return a lower confidence bound of the recall of these queries."""
        deepest = self.rows[:, depth - _MEASURED_RANKS : depth]
        candidate_rows = candidates.search(self.queries, pool(depth), n_probe)
        is_found = np.isin(deepest, self.scanned)
        for number, rows in enumerate(candidate_rows):
            is_found[number] |= np.isin(deepest[number], rows)
        shares: NDArray[np.float64] = is_found.mean(axis=1)
        return float(shares.mean() - _STANDARD_ERRORS * shares.std() / math.sqrt(len(shares)))


def pool(depth: int) -> int:
    """Return the number of candidates to score: quantized scores give only an approximate order."""
    return 2 * depth + 20


def _steps(largest: int) -> list[int]:
    """Return 1, 2, 3, 4, 6, 8, 12, … up to `largest`; at least 1."""
    steps = [1]
    for power in count(1):
        for step in (2**power, 3 * 2 ** (power - 1)):
            if step > largest:
                return steps
            steps.append(step)
    raise AssertionError
