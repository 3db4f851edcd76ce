"""ALS on the driver: for what fits into its memory, many times faster than on executors.

Implicit feedback is left to the library ``implicit``; explicit feedback is solved here,
exactly, many rows at once.  MLlib's objective is that of both (:mod:`batch_layer.apps.als.mllib`).
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

#: Rows with more ratings than this are solved one by one, the others in padded blocks.
LONG_ROW = 4096
#: Numbers gathered for one block: it should stay in the cache of a core or near it.
_BLOCK_NUMBERS = 1_000_000
#: Keeps a system without regularization solvable.
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


def factorize(ratings: csr_matrix, fit: Fit) -> tuple[Vectors, Vectors]:
    """Factorise a matrix of ratings or strengths.

    Parameters
    ----------
    ratings : csr_matrix, shape (n_users, n_items)
        Each pair once.
    fit : Fit
        How.

    Returns
    -------
    user_factors, item_factors : ndarray of float32, shapes (n_users, k) and (n_items, k)
    """
    return (_factorize_implicit if fit.implicit else _factorize_explicit)(ratings, fit)


def _factorize_implicit(ratings: csr_matrix, fit: Fit) -> tuple[Vectors, Vectors]:
    # 11 MB, which neither training by MLlib needs nor the executors' workers.
    from implicit.cpu.als import AlternatingLeastSquares

    # BLAS takes one thread: products here are small and many, and threads take rows.  Only now,
    # since a limit does not reach a BLAS that is loaded later.
    with threadpool_limits(1, "blas"):
        model = AlternatingLeastSquares(
            factors=fit.features,
            regularization=fit.regularization * mean_count(ratings),
            iterations=fit.iterations,
            num_threads=n_threads(),
            random_state=fit.seed,
        )
        model.fit(confidence(ratings, fit.alpha), show_progress=False)
    return model.user_factors, model.item_factors


def confidence(strengths: csr_matrix, alpha: float) -> csr_matrix:
    """Return 1 + alpha·|r|, negative where r is not positive: what the user does not like.

    The library takes a value's size for the confidence c and its sign for the preference p
    (1 or 0), in Hu, Koren and Volinsky's Σ c·(p - x·y)²; MLlib derives both from r.  A
    strength of 0 gives -1, which is the same as no interaction.
    """
    weights = (1 + alpha * np.abs(strengths.data)).astype(np.float32)
    signed = np.where(strengths.data > 0, weights, -weights)
    return csr_matrix((signed, strengths.indices, strengths.indptr), strengths.shape)


def mean_count(strengths: csr_matrix) -> float:
    """Return the geometric mean of positive strengths per user and per item.

    MLlib weighs λ by each row's own count; the library has one λ for all rows, and this in
    place of the counts.
    """
    n_positive = int((strengths.data > 0).sum())
    n_users, n_items = strengths.shape
    return float(max(n_positive, 1) / np.sqrt(n_users * n_items))


def _factorize_explicit(ratings: csr_matrix, fit: Fit) -> tuple[Vectors, Vectors]:
    """Minimise Σ (r - x·y)² + λ(Σ n_u·|x_u|² + Σ n_i·|y_i|²) (Zhou et al. 2008, ALS-WR)."""
    by_user, by_item = ratings.tocsr(), ratings.T.tocsr()
    random = np.random.default_rng(fit.seed)
    items = random.standard_normal((ratings.shape[1], fit.features), np.float32)
    items /= np.sqrt(fit.features)
    users = np.zeros((ratings.shape[0], fit.features), np.float32)
    blas = threadpool_limits(1, "blas")
    with blas, ThreadPoolExecutor(n_threads(), thread_name_prefix="als") as pool:
        for _ in range(fit.iterations):
            users = solve_rows(by_user, items, fit.regularization, pool)
            items = solve_rows(by_item, users, fit.regularization, pool)
    return users, items


def solve_rows(
    ratings: csr_matrix,
    fixed: Vectors,
    regularization: float,
    pool: ThreadPoolExecutor,
    long_row: int = LONG_ROW,
) -> Vectors:
    """Solve (YᵀY + λ·n·I)x = Yᵀr for each row, with its n ratings r and their vectors Y.

    Parameters
    ----------
    ratings : csr_matrix, shape (n_rows, n_columns)
    fixed : ndarray, shape (n_columns, k)
        Vectors of the columns.
    regularization : float
        λ.
    pool : ThreadPoolExecutor
        Solves the blocks.
    long_row : int
        A row with more ratings than this is solved by itself.

    Returns
    -------
    ndarray of float32, shape (n_rows, k)
        Zero for a row without ratings.
    """
    solved = np.zeros((ratings.shape[0], fixed.shape[1]), np.float32)

    def solve(rows: NDArray[np.int64]) -> None:
        one = _solve_long if len(rows) == 1 else _solve_block
        solved[rows] = one(ratings, rows, fixed, regularization)

    for _ in pool.map(solve, _blocks(np.diff(ratings.indptr), fixed.shape[1], long_row)):
        pass
    return solved


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


def _solve_block(
    ratings: csr_matrix, rows: NDArray[np.int64], fixed: Vectors, regularization: float
) -> NDArray[np.float64]:
    """Solve rows padded to the longest of them; padding has a vector and a rating of zero."""
    starts = ratings.indptr[rows]
    counts = ratings.indptr[rows + 1] - starts
    steps = np.arange(counts.max())
    present = steps < counts[:, None]
    at = np.where(present, starts[:, None] + steps, 0)
    vectors = fixed[ratings.indices[at]].astype(np.float64) * present[..., None]
    values = (ratings.data[at] * present)[..., None].astype(np.float64)
    ridge = (regularization * counts + _LEAST_RIDGE)[:, None, None]
    transposed = vectors.swapaxes(1, 2)
    if len(steps) < fixed.shape[1]:
        # Fewer ratings than factors: the same solution by the smaller system, (YYᵀ + λnI).
        system = vectors @ transposed + ridge * np.eye(len(steps))
        solved = transposed @ np.linalg.solve(system, values)
    else:
        system = transposed @ vectors + ridge * np.eye(fixed.shape[1])
        solved = np.linalg.solve(system, transposed @ values)
    return np.asarray(solved[..., 0])


def _solve_long(
    ratings: csr_matrix, rows: NDArray[np.int64], fixed: Vectors, regularization: float
) -> NDArray[np.float64]:
    """Solve one row without padding."""
    entries = slice(ratings.indptr[rows[0]], ratings.indptr[rows[0] + 1])
    vectors = fixed[ratings.indices[entries]]
    ridge = regularization * len(vectors) + _LEAST_RIDGE
    system = gramian(vectors) + ridge * np.eye(fixed.shape[1])
    return np.linalg.solve(system, vectors.T.astype(np.float64) @ ratings.data[entries])[None]


def n_threads() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
