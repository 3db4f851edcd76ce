"""One side of an ALS model that follows the update topic: what is here, what is to come."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from numpy.typing import ArrayLike

from common.factors.files import StoredFactors
from common.factors.matrix import FactorMatrix


class FactorSide:
    """The vectors of all users, or of all items, and Oryx's rule of which to expect and keep.

    Attributes
    ----------
    factors : FactorMatrix
        The vectors at hand.
    """

    def __init__(self, n_factors: int) -> None:
        self.factors = FactorMatrix(n_factors)
        self._expected: set[str] = set()
        self._recent: set[str] = set()

    @property
    def n_expected(self) -> int:
        """How many ids of the model have no vector yet."""
        return len(self._expected)

    def take(self, stored: StoredFactors, n_factors: int) -> None:
        """Take vectors over from a generation's file, in the place of all before.

        Raises
        ------
        ValueError
            If they are not of `n_factors` factors, or an id comes twice.
        """
        self.factors = FactorMatrix(n_factors, stored.ids, stored.vectors)
        self._expected.clear()
        self._recent.clear()

    def expect(self, ids: Collection[str]) -> None:
        """Prepare for a model whose vectors come by ``UP``.

        Kept are the vectors of its ids, and of ids first seen since the model before.
        """
        self.factors.keep(self._recent.union(ids))
        self._recent.clear()
        self._expected = {id for id in ids if id not in self.factors}

    def set(self, id: str, vector: ArrayLike) -> None:
        """Replace or append a vector; raises ValueError as :meth:`FactorMatrix.set`."""
        is_new = id not in self.factors
        self.factors.set(id, vector)
        self._count_in([id] if is_new else [])

    def set_many(self, ids: Sequence[str], vectors: ArrayLike) -> None:
        """Replace or append vectors; raises ValueError as :meth:`FactorMatrix.set_many`."""
        new = [id for id in ids if id not in self.factors]
        self.factors.set_many(ids, vectors)
        self._count_in(new)

    def _count_in(self, new: Sequence[str]) -> None:
        self._recent.update(new)
        self._expected.difference_update(new)


def fraction_loaded(*sides: FactorSide) -> float:
    """Share of the vectors at hand among these and those expected; 1 if none are expected."""
    expected = sum(side.n_expected for side in sides)
    loaded = sum(len(side.factors) for side in sides)
    return loaded / (loaded + expected) if expected else 1.0
