"""Which ids a model without files keeps and waits for: Oryx's rule, for speed and serving."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import numpy as np
from numpy.typing import NDArray

from common.factors.matrix import FactorMatrix


class Retention:
    """The ids of one side, users or items, across models whose vectors come by ``UP``.

    A new model keeps the vectors of its own ids, and of ids first seen since the model before;
    all others go.  Its ids that have no vector yet are expected.
    """

    def __init__(self) -> None:
        self._expected: set[str] = set()
        self._recent: set[str] = set()

    @property
    def n_expected(self) -> int:
        """How many ids of the model have no vector yet."""
        return len(self._expected)

    def kept_rows(self, factors: FactorMatrix, ids: Collection[str]) -> NDArray[np.int64]:
        """Return the ascending rows of `factors` that stay for a new model with these ids."""
        wanted = self._recent.union(ids)
        return np.flatnonzero([id in wanted for id in factors.ids])

    def begin(self, factors: FactorMatrix, ids: Iterable[str] = ()) -> None:
        """Start over with a new model.

        Parameters
        ----------
        factors : FactorMatrix
            What is at hand of it.
        ids : iterable of str
            All of its ids; none where its vectors came in files.
        """
        self._recent.clear()
        self._expected = {id for id in ids if id not in factors}

    def add(self, new: Iterable[str]) -> None:
        """Take note of ids whose first vector has come."""
        added = list(new)
        self._recent.update(added)
        self._expected.difference_update(added)


def fraction_loaded(n_loaded: int, *sides: Retention) -> float:
    """Vectors loaded as a share of these and the ones still expected; 1 if none are."""
    expected = sum(side.n_expected for side in sides)
    return n_loaded / (n_loaded + expected) if expected else 1.0
