from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import qr

from common.factors.solver import SINGULARITY_RATIO, Solver, apparent_rank

MATRIX = np.array([[1.3, -2, 3], [2, 0, 5], [0, -1.5, 5.5]])


def test_oryx_solution() -> None:
    solver = Solver.of(MATRIX)
    assert solver is not None
    expected = [-1.9560440, 0.0021978, 1.1824176]
    np.testing.assert_allclose(solver.solve([1, 2, 6.5]), expected, atol=1e-6)
    many = solver.solve(np.array([[1, 2, 6.5], [2, 4, 13], [0, 0, 0]]))
    np.testing.assert_allclose(many, np.outer([1, 2, 0], expected), atol=1e-6)


@pytest.mark.parametrize(
    ("matrix", "rank"),
    [
        (np.outer([1, 2, 3], [1, 2, 3]) + np.diag([0, 0, 1.0]), 2),
        (np.outer([1, 2, 3], [1, 2, 3]) + np.diag([0, 0, 1e-7]), 1),
        (np.zeros((3, 3)), 0),
        (np.zeros((0, 0)), 0),
    ],
)
def test_singular_matrices_have_no_solver(matrix: np.ndarray, rank: int) -> None:
    assert Solver.of(matrix.astype(np.float64)) is None
    assert apparent_rank(matrix.astype(np.float64)) == rank


@pytest.mark.parametrize("smallest", [1e-2, 1e-4, 1e-5, 1e-6, 1e-9])
def test_there_is_a_solver_where_pivoted_qr_says_so(smallest: float) -> None:
    random, solved = np.random.default_rng(1), []
    for k in (1, 2, 10, 60):
        vectors = random.standard_normal((200, k)) * np.geomspace(1, smallest, k) ** 0.5
        matrix = vectors.T @ vectors
        r, _ = qr(matrix, mode="r", pivoting=True)
        limit = SINGULARITY_RATIO * np.linalg.norm(matrix, ord=1)
        rank = int((np.abs(np.diag(r)) > limit).sum())
        solver = Solver.of(matrix)
        assert (solver is not None) == (rank == k)
        if solver is not None:
            solved.append(k)
            wanted = random.standard_normal((3, k))
            np.testing.assert_allclose(solver.solve(wanted @ matrix.T), wanted, rtol=1e-6)
    assert 1 in solved
