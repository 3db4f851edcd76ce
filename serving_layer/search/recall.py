"""Into how many cells a query has to look, found out by queries whose answers are known."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import count

import numpy as np
from numpy.typing import NDArray

from serving_layer.search.candidates import Candidates
from serving_layer.search.live import RowNumbers, Vectors

#: Ranks down to which recall is promised; longer pages get an exact answer.
DEPTHS = (10, 30, 100, 300)
#: At each depth recall is that of so many ranks, the deepest: the first ones are found more
#: easily, and known items may take them.
_MEASURED_RANKS = 10
#: Standard errors by which the sampled recall has to be above the one that is promised (95 %).
_STANDARD_ERRORS = 1.645
#: Looking into more of the cells than this is no faster than an exact scan.
_LARGEST_SHARE = 0.25


@dataclass(frozen=True)
class Truth:
    """Queries and their exact answers.

    Attributes
    ----------
    queries : ndarray of float32, shape (q, k)
        Of length 1.
    rows : ndarray of int64, shape (q, max(DEPTHS))
        The best rows of each, the very best first.
    scanned : ndarray of int64
        Rows that are found without any cell.
    """

    queries: Vectors
    rows: RowNumbers
    scanned: RowNumbers

    def probes(self, candidates: Candidates, recall: float) -> dict[int, int]:
        """Return for each depth how many cells to look into; none where they would be too many.

        Parameters
        ----------
        candidates : Candidates
            What is asked.
        recall : float
            Share of the exact answer that has to be among :func:`pool` candidates.
        """
        steps = _steps(int(_LARGEST_SHARE * candidates.n_cells))
        found: dict[int, int] = {}
        for depth in DEPTHS:
            # A deeper answer takes as many cells at least.
            for n_probe in steps[steps.index(max(found.values(), default=1)) :]:
                if self._surely_found(candidates, depth, n_probe) >= recall:
                    found[depth] = n_probe
                    break
        return found

    def _surely_found(self, candidates: Candidates, depth: int, n_probe: int) -> float:
        """Return a bound below the recall, from what these queries have found."""
        deepest = self.rows[:, depth - _MEASURED_RANKS : depth]
        found = candidates.search(self.queries, pool(depth), n_probe)
        known = np.isin(deepest, self.scanned)
        for at, rows in enumerate(found):
            known[at] |= np.isin(deepest[at], rows)
        shares: NDArray[np.float64] = known.mean(axis=1)
        return float(shares.mean() - _STANDARD_ERRORS * shares.std() / math.sqrt(len(shares)))


def pool(depth: int) -> int:
    """Return how many candidates are scored again: bytes only nearly tell their order."""
    return 2 * depth + 20


def _steps(largest: int) -> list[int]:
    """Return 1, 2, 3, 4, 6, 8, 12, … up to `largest`, and 1 in any case."""
    steps = [1]
    for power in count(1):
        for step in (2**power, 3 * 2 ** (power - 1)):
            if step > largest:
                return steps
            steps.append(step)
    raise AssertionError
