"""ALS fold-in: new vectors of one side from new strengths, with the other side fixed.

Oryx's rule: with Q = x·y, the estimate, and a target for it, x moves to
x + (YᵀY)⁻¹ y (target - Q).  The Gramian is not regularised.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

from common.factors.solver import Solver

#: Estimate that the target starts from where there is no vector yet: "don't know".
UNKNOWN_ESTIMATE = 0.5


@dataclass(frozen=True)
class Strengths:
    """Events of one micro-batch, in time order, seen from the side that is folded in.

    Attributes
    ----------
    rows : ndarray of int64, shape (n,)
        Which of the folded vectors each event belongs to.
    others : ndarray of int64, shape (n,)
        Which of the fixed vectors it names.
    values : ndarray of float64, shape (n,)
        Its strength.
    """

    rows: NDArray[np.int64]
    others: NDArray[np.int64]
    values: NDArray[np.float64]


def target(value: ArrayLike, estimate: ArrayLike, implicit: bool) -> NDArray[np.float64]:
    """Return what the estimate should become, NaN where it should stay (Oryx's rule).

    Parameters
    ----------
    value : array_like of float
        Strengths.
    estimate : array_like of float
        The estimates Q now, of the same shape.
    implicit : bool
        Explicit: the strength itself.  Implicit: a positive strength v draws an estimate below
        1 towards 1 by v/(1+v) of the way from max(0, Q), a negative one an estimate above 0
        towards 0 by v/(v-1) of min(1, Q); otherwise none.
    """
    v, q = np.broadcast_arrays(np.asarray(value, np.float64), np.asarray(estimate, np.float64))
    if not implicit:
        return np.array(v)
    share = np.abs(v) / (1.0 + np.abs(v))
    up = q + share * (1.0 - np.maximum(q, 0.0))
    down = q - share * np.minimum(q, 1.0)
    wanted: NDArray[np.float64] = np.where(
        (v > 0) & (q < 1), up, np.where((v < 0) & (q > 0), down, np.nan)
    )
    return wanted


def updated_vectors(
    solver: Solver,
    values: ArrayLike,
    current: NDArray[np.floating] | None,
    others: NDArray[np.floating],
    implicit: bool,
) -> NDArray[np.float64]:
    """Return n vectors after one strength each; NaN rows where there is no update.

    Parameters
    ----------
    solver : Solver
        Of the Gramian of the fixed side, (k, k).
    values : array_like of float, shape (n,)
        Strengths.
    current : ndarray, shape (n, k), or None
        The vectors so far; None where there are none yet.
    others : ndarray, shape (n, k)
        The fixed vectors that the strengths refer to.
    implicit : bool
        As in :func:`target`.
    """
    base = np.zeros(others.shape) if current is None else np.asarray(current, np.float64)
    fixed = np.asarray(others, np.float64)
    estimate = np.einsum("ij,ij->i", base, fixed)
    start = np.full(len(fixed), UNKNOWN_ESTIMATE) if current is None else estimate
    step = target(values, start, implicit) - estimate
    moved: NDArray[np.float64] = base + step[:, np.newaxis] * solver.solve(fixed)
    return moved


@dataclass(frozen=True)
class FoldIn:
    """Folds strengths into vectors of one side.

    Attributes
    ----------
    solver : Solver
        Of the Gramian of the fixed side, (k, k).
    fixed : ndarray of float64, shape (m, k)
        The fixed vectors that the strengths name.
    implicit : bool
        As in :func:`target`.
    """

    solver: Solver
    fixed: NDArray[np.float64]
    implicit: bool

    def apply(
        self, strengths: Strengths, current: NDArray[np.float64], known: NDArray[np.bool_]
    ) -> NDArray[np.bool_]:
        """Fold strengths in, one after the other for each vector; return which have changed.

        Round j takes the j-th event of every vector at once, so that the result is that of
        folding in event by event, whatever their number.

        Parameters
        ----------
        strengths : Strengths
            In time order.
        current : ndarray, shape (n, k)
            The vectors, changed in place; zeros where there is none yet.
        known : ndarray of bool, shape (n,)
            Whether there is a vector yet.
        """
        steps = self.solver.solve(self.fixed)
        exists = known.copy()
        changed = np.zeros(len(current), np.bool_)
        order, rounds = _rounds(strengths.rows)
        rows, others = strengths.rows[order], strengths.others[order]
        values = strengths.values[order]
        for first, last in pairwise(rounds):
            at, other = rows[first:last], others[first:last]
            base = current[at]
            estimate = np.einsum("ij,ij->i", base, self.fixed[other])
            start = np.where(exists[at], estimate, UNKNOWN_ESTIMATE)
            wanted = target(values[first:last], start, self.implicit)
            moves = ~np.isnan(wanted)
            step = np.where(moves, wanted - estimate, 0.0)
            current[at] = base + step[:, np.newaxis] * steps[other]
            changed[at] |= moves
            exists[at] |= moves
        return changed


def _rounds(rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], list[int]]:
    """Order events so that each round holds one event of a row; return where rounds begin."""
    by_row = np.argsort(rows, kind="stable")
    ordered = rows[by_row]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]]) if len(rows) else by_row
    lengths = np.diff(np.r_[starts, len(rows)])
    rank = np.arange(len(rows)) - np.repeat(starts, lengths)
    order = by_row[np.argsort(rank, kind="stable")]
    return order, np.r_[0, np.cumsum(np.bincount(rank))].tolist()
