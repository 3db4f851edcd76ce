"""An ALS model in memory, as requests see it."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from common.factors import FactorMatrix, Solver
from common.known_items import KnownItems
from common.pmml import AlsModel
from serving_layer.top_n import ExactIndex, Gatherer, LiveFactors, Query, Top


class LatestSolver:
    """The solver of a matrix's Gramian, kept until the matrix changes.

    One thread computes it anew while the others go on with the one before, and wait only where
    there is none yet.
    """

    def __init__(self, matrix: FactorMatrix) -> None:
        self._matrix = matrix
        self._lock = threading.Lock()
        self._held: tuple[int, Solver | None] | None = None

    def get(self) -> Solver | None:
        """Return the solver; None where the Gramian is singular or the matrix empty."""
        held = self._held
        if held is not None and held[0] == self._matrix.changes:
            return held[1]
        if self._lock.acquire(blocking=held is None):
            try:
                return self._refreshed()
            finally:
                self._lock.release()
        return held[1] if held else None

    def _refreshed(self) -> Solver | None:
        # Read before the Gramian, so that a change in between is seen the next time.
        changes = self._matrix.changes
        if self._held is None or self._held[0] != changes:
            self._held = (changes, Solver.of(self._matrix.gramian()))
        return self._held[1]


@dataclass(frozen=True)
class AlsView:
    """One model: a request takes the view once and asks it alone.

    The vectors and known items in it follow the updates; row numbers never change.

    Attributes
    ----------
    parameters : AlsModel
        What the PMML says, without ids.
    users : FactorMatrix
        User vectors.
    items : LiveFactors
        Item vectors; `items.matrix` has ids and rows.
    known : KnownItems
        By row of the user; rows of items.
    index : ExactIndex
        Searches the items.
    search : Gatherer
        The same for requests that come at once.
    item_solver : LatestSolver
        Of the items' Gramian, for fold-in.
    """

    parameters: AlsModel
    users: FactorMatrix
    items: LiveFactors
    known: KnownItems
    index: ExactIndex
    search: Gatherer[Query, Top]
    item_solver: LatestSolver

    @classmethod
    def of(
        cls, parameters: AlsModel, users: FactorMatrix, items: FactorMatrix, known: KnownItems
    ) -> AlsView:
        """Make the view of a model; the matrices and known items are taken over."""
        live = LiveFactors(items)
        index = ExactIndex(live)
        search = Gatherer(index.top_n)
        return cls(parameters, users, live, known, index, search, LatestSolver(items))
