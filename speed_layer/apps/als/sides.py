"""One side of an ALS model that follows the update topic: what is here, what is to come."""

from __future__ import annotations

import threading
from collections.abc import Collection, Sequence

from numpy.typing import ArrayLike

from common.factors.files import StoredFactors
from common.factors.matrix import FactorMatrix
from common.factors.retention import Retention


class FactorSide:
    """The vectors of all users, or of all items.

    Attributes
    ----------
    factors : FactorMatrix
        The vectors at hand.
    retention : Retention
        Which of them stay for a model without files, and which are to come.
    """

    def __init__(self, n_factors: int) -> None:
        self.factors = FactorMatrix(n_factors)
        self.retention = Retention()
        # A micro-batch may write while a model without files arrives on another thread.
        self._lock = threading.Lock()

    def take(self, stored: StoredFactors, n_factors: int) -> None:
        """Take vectors over from a generation's file, in the place of all before.

        Raises
        ------
        ValueError
            If they are not of `n_factors` factors, or an id comes twice.
        """
        with self._lock:
            self.factors = FactorMatrix(n_factors, stored.ids, stored.vectors)
            self.retention.begin(self.factors)

    def expect(self, ids: Collection[str]) -> None:
        """Prepare for a model whose vectors come by ``UP``, and keep those that stay for it."""
        with self._lock:
            self.factors = self.factors.select(self.retention.kept_rows(self.factors, ids))
            self.retention.begin(self.factors, ids)

    def set(self, id: str, vector: ArrayLike) -> None:
        """Replace or append a vector; raises ValueError as :meth:`FactorMatrix.set`."""
        with self._lock:
            n_before = len(self.factors)
            if self.factors.set(id, vector) >= n_before:
                self.retention.add([id])

    def set_many(self, ids: Sequence[str], vectors: ArrayLike) -> None:
        """Replace or append vectors; raises ValueError as :meth:`FactorMatrix.set_many`."""
        with self._lock:
            n_before = len(self.factors)
            rows = self.factors.set_many(ids, vectors)
            self.retention.add(id for id, row in zip(ids, rows, strict=True) if row >= n_before)
