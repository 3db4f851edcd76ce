"""An ALS model in memory, as requests see it."""

from __future__ import annotations

import threading
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from common.apps.als.pmml import AlsModel
from common.factors.known_items import KnownItems
from common.factors.matrix import FactorMatrix
from common.factors.solver import Solver
from serving_layer.search import (
    ApproximateIndex,
    Approximation,
    ExactIndex,
    LiveFactors,
    RequestBatcher,
    Search,
)


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


@dataclass(frozen=True, eq=False)
class Content:
    """What a model consists of: its parameters, without ids, its factors and known items."""

    parameters: AlsModel
    users: FactorMatrix
    items: FactorMatrix
    known: KnownItems

    def askers(self) -> NDArray[np.float32]:
        """Return vectors like those that items are searched for with: users', where there are."""
        return self.users.vectors if len(self.users) else self.items.vectors


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
        Searches the items, exactly.
    search : Search
        Searches them for requests that come at once; approximately where that was asked for.
    item_solver : LatestSolver
        Of the items' Gramian, for fold-in.
    """

    parameters: AlsModel
    users: FactorMatrix
    items: LiveFactors
    known: KnownItems
    index: ExactIndex
    search: Search
    item_solver: LatestSolver

    @classmethod
    def of(cls, content: Content, approximation: Approximation | None = None) -> AlsView:
        """Make the view of a model, whose content is taken over."""
        items = LiveFactors(content.items)
        exact = ExactIndex(items)
        search: Search = RequestBatcher(exact.top_n)
        if approximation is not None:
            search = ApproximateIndex(exact, content.askers, approximation)
        solver = LatestSolver(content.items)
        # So that the first who needs it need not wait for a pass over all items.
        threading.Thread(target=solver.get, name="item-solver", daemon=True).start()
        return cls(
            parameters=content.parameters,
            users=content.users,
            items=items,
            known=content.known,
            index=exact,
            search=search,
            item_solver=solver,
        )
