"""ALS on the driver: for what fits into its memory, many times faster than on executors.

Each row's normal equations are solved exactly in float64, many rows at once, with MLlib's
objective (:mod:`batch_layer.apps.als.mllib`).  Decision record 0008 compares other solvers.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from threadpoolctl import threadpool_limits

from common.factors.matrix import gramian

Vectors = NDArray[np.float32]
Numbers = NDArray[np.float64]

#: Rows with more ratings than this are solved one by one, the others in padded blocks.
LONG_ROW = 4096
#: Numbers gathered for one block: it should stay in the cache of a core or near it.
_BLOCK_NUMBERS = 250_000
#: Keeps a system without regularization solvable; times 1 + the Gramian's largest eigenvalue.
_LEAST_RIDGE = 1e-9


@dataclass(frozen=True)
class Fit:
    """How to factorise.

    Attributes
    ----------
    features : int
        Length k of a vector.
    regularization : float
        λ; it weighs for each row as often as the row has ratings (positive ones, where the
        feedback is implicit), as in MLlib.
    alpha : float
        Confidence of strength r is 1 + alpha·|r|; for implicit feedback.
    iterations : int
        Each solves users, then items.
    implicit : bool
        Kind of feedback.
    seed : int
        Of the first vectors.
    """

    features: int
    regularization: float
    alpha: float
    iterations: int
    implicit: bool
    seed: int


def factorize(strengths: csr_matrix, fit: Fit) -> tuple[Vectors, Vectors]:
    """Factorize a matrix of ratings or strengths.

    Explicit feedback minimizes Σ (r - x·y)² over the given pairs (Zhou et al. 2008, ALS-WR).
    Implicit feedback minimizes Σ c·(p - x·y)² over all pairs, with c = 1 + alpha·|r|, p = 1
    where r > 0, and r = 0, p = 0 for a pair that is not given (Hu, Koren and Volinsky 2008).
    Both add λ(Σ n_u·|x_u|² + Σ n_i·|y_i|²), as MLlib does.

    Parameters
    ----------
    strengths : csr_matrix, shape (n_users, n_items)
        Each pair once.
    fit : Fit
        How.

    Returns
    -------
    user_factors, item_factors : ndarray of float32, shapes (n_users, k) and (n_items, k)
    """
    of_users = Equations.of(strengths.tocsr(), fit)
    of_items = Equations.of(strengths.T.tocsr(), fit)
    random = np.random.default_rng(fit.seed)
    items = random.standard_normal((strengths.shape[1], fit.features), np.float32)
    items /= np.sqrt(fit.features)
    users = np.zeros((strengths.shape[0], fit.features), np.float32)
    # BLAS takes one thread: products are small and many, and the pool's threads share the rows.
    blas = threadpool_limits(1, "blas")
    with blas, ThreadPoolExecutor(n_threads(), thread_name_prefix="als") as pool:
        for _ in range(fit.iterations):
            users = of_users.solve(items, pool)
            items = of_items.solve(users, pool)
    return users, items


@dataclass(frozen=True)
class Equations:
    """The normal equations of one side's vectors, (G + VᵀWV + ridge·I)x = Vᵀt for each row.

    V are the fixed vectors of the row's entries and G is the Gramian of all fixed vectors, or
    zero for explicit feedback.

    Attributes
    ----------
    indptr, indices : ndarray of int32
        Entries by row, as in a csr_matrix.
    weights : ndarray of float64, shape (n_entries,)
        Diagonals of W, at least 0.
    targets : ndarray of float64, shape (n_entries,)
        Entries of t.
    ridges : ndarray of float64, shape (n_rows,)
    implicit : bool
        Whether G counts.
    """

    indptr: NDArray[np.int32]
    indices: NDArray[np.int32]
    weights: Numbers
    targets: Numbers
    ridges: Numbers
    implicit: bool

    @classmethod
    def of(cls, strengths: csr_matrix, fit: Fit) -> Equations:
        """Return the equations of the rows of `strengths`."""
        values = strengths.data.astype(np.float64)
        weights, targets, counted = np.ones(len(values)), values, np.ones(len(values))
        if fit.implicit:
            weights = fit.alpha * np.abs(values)
            counted = (values > 0).astype(np.float64)
            targets = (1 + weights) * counted
        n_counted = np.diff(np.concatenate([[0.0], np.cumsum(counted)])[strengths.indptr])
        ridges = fit.regularization * n_counted
        indptr, indices = strengths.indptr, strengths.indices
        return cls(indptr, indices, weights, targets, ridges, fit.implicit)

    def solve(self, fixed: Vectors, pool: ThreadPoolExecutor, long_row: int = LONG_ROW) -> Vectors:
        """Return the rows' vectors, shape (n_rows, k); zero for a row without entries.

        Parameters
        ----------
        fixed : ndarray, shape (n_columns, k)
            Vectors of the other side.
        pool : ThreadPoolExecutor
            Solves the blocks.
        long_row : int
            A row with more entries than this is solved by itself.
        """
        # In the eigenvectors' coordinates G is diagonal, and so is all but VᵀWV.
        eigenvalues, axes = np.zeros(fixed.shape[1]), np.eye(fixed.shape[1])
        if self.implicit:
            eigenvalues, axes = np.linalg.eigh(gramian(fixed))
        diagonal = np.maximum(eigenvalues, 0) + _LEAST_RIDGE * (1 + eigenvalues.max())
        # The last row is what blocks are padded with.
        rotated = np.concatenate([fixed @ axes, np.zeros((1, fixed.shape[1]))])
        solved = np.zeros((len(self.ridges), fixed.shape[1]), np.float32)

        def solve(rows: NDArray[np.int64]) -> None:
            one = self._solve_long if len(rows) == 1 else self._solve_block
            solved[rows] = one(rows, rotated, diagonal) @ axes.T

        for _ in pool.map(solve, _blocks(np.diff(self.indptr), fixed.shape[1], long_row)):
            pass
        return solved

    def _solve_block(self, rows: NDArray[np.int64], fixed: Numbers, diagonal: Numbers) -> Numbers:
        """Solve rows padded to the longest of them; padding has a vector of zeros."""
        starts = self.indptr[rows]
        counts = self.indptr[rows + 1] - starts
        steps = np.arange(counts.max())
        present = steps < counts[:, None]
        at = np.where(present, starts[:, None] + steps, 0)
        vectors = fixed[np.where(present, self.indices[at], -1)]
        weights, targets = (of[at][..., None] for of in (self.weights, self.targets))
        diagonals = diagonal + self.ridges[rows][:, None]
        transposed = vectors.swapaxes(1, 2)
        if len(steps) < fixed.shape[1]:
            # Fewer entries than factors: x = D⁻¹Vᵀy solves the system where y + WVD⁻¹Vᵀy = t.
            # Divided by 1 + w, no entry is large however large the weights are.
            transposed = transposed / diagonals[..., None]
            system = weights / (1 + weights) * (vectors @ transposed)
            _diagonal_of(system)[...] += (1 / (1 + weights))[..., 0]
            solved = transposed @ np.linalg.solve(system, targets / (1 + weights))
        else:
            system = transposed @ (weights * vectors)
            _diagonal_of(system)[...] += diagonals
            solved = np.linalg.solve(system, transposed @ targets)
        return np.asarray(solved[..., 0])

    def _solve_long(self, rows: NDArray[np.int64], fixed: Numbers, diagonal: Numbers) -> Numbers:
        """Solve one row without padding."""
        entries = slice(self.indptr[rows[0]], self.indptr[rows[0] + 1])
        vectors = fixed[self.indices[entries]]
        system = vectors.T @ (self.weights[entries, None] * vectors)
        system += np.diag(diagonal + self.ridges[rows[0]])
        return np.linalg.solve(system, vectors.T @ self.targets[entries])[None]


def _diagonal_of(systems: Numbers) -> Numbers:
    """Return a view of the diagonals of matrices, shape (n, m)."""
    n, m, _ = systems.shape
    return systems.reshape(n, m * m)[:, :: m + 1]


def _blocks(
    counts: NDArray[np.int32], n_factors: int, long_row: int
) -> Iterator[NDArray[np.int64]]:
    """Divide the rows into blocks of about equal counts, so that padding stays small."""
    order = np.argsort(counts, kind="stable")
    order = order[counts[order] > 0]
    lengths = counts[order]
    start = 0
    while start < len(order):
        end = int(np.searchsorted(lengths, 1.25 * lengths[start], "right"))
        most = _BLOCK_NUMBERS // (int(lengths[end - 1]) * n_factors)
        end = min(end, start + max(most, 1)) if lengths[start] <= long_row else start + 1
        yield order[start:end]
        start = end


def n_threads() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
