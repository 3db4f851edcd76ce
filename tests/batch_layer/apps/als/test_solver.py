"""The solvers of ALS on the driver, against the definition of what they minimise."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from scipy.sparse import csr_matrix, random_array

from batch_layer.apps.als.solver import Fit, confidence, factorize, mean_count, solve_rows


def ratings(n_users: int, n_items: int, density: float) -> csr_matrix:
    random = np.random.default_rng(3)
    found = csr_matrix(random_array((n_users, n_items), density=density, rng=random))
    found.data = random.uniform(1, 5, found.nnz).astype(np.float32)
    return found


@pytest.mark.parametrize("longest", [4096, 20])
def test_rows_are_least_squares_solutions(longest: int) -> None:
    """Short rows by the small system, longer ones by the large one, long ones by themselves."""
    dense = ratings(60, 50, 0.3).toarray()
    dense[:3] = 0
    dense[5] = 1
    matrix = csr_matrix(dense)
    fixed = np.random.default_rng(4).standard_normal((50, 12)).astype(np.float32)
    counts = np.diff(matrix.indptr)
    assert counts.min() == 0
    assert (counts[counts > 0] < 12).any()
    assert counts.max() == 50
    with ThreadPoolExecutor(2) as pool:
        solved = solve_rows(matrix, fixed, 0.1, pool, longest)
    for row in range(60):
        part = slice(matrix.indptr[row], matrix.indptr[row + 1])
        vectors = fixed[matrix.indices[part]].astype(float)
        system = vectors.T @ vectors + (0.1 * len(vectors) + 1e-9) * np.eye(12)
        expected = np.linalg.solve(system, vectors.T @ matrix.data[part])
        assert solved[row] == pytest.approx(expected, abs=1e-4)


def test_explicit_ratings_are_recovered() -> None:
    random = np.random.default_rng(5)
    users, items = random.standard_normal((80, 3)), random.standard_normal((60, 3))
    truth = users @ items.T
    matrix = ratings(80, 60, 0.5)
    matrix.data = truth[matrix.nonzero()].astype(np.float32)
    x, y = factorize(matrix, Fit(3, 1e-4, 1.0, 20, implicit=False, seed=1))
    unseen = matrix.toarray() == 0
    error = np.sqrt(np.mean(((x @ y.T) - truth)[unseen] ** 2))
    assert unseen.sum() > 1000
    assert error < 0.05 * truth.std()


def test_confidence_is_that_of_mllib() -> None:
    strengths = csr_matrix((np.array([2.0, -3.0, 0.0]), [0, 1, 2], [0, 3]), shape=(1, 3))
    assert confidence(strengths, 10.0).data.tolist() == [21.0, -31.0, -1.0]
    assert mean_count(strengths) == pytest.approx(1 / np.sqrt(3))


@pytest.mark.parametrize("implicit", [True, False])
def test_seed_decides(implicit: bool) -> None:
    matrix = ratings(40, 30, 0.2)
    first, again, other = (
        factorize(matrix, Fit(4, 0.01, 1.0, 3, implicit, seed)) for seed in (1, 1, 2)
    )
    assert np.array_equal(first[0], again[0])
    assert np.array_equal(first[1], again[1])
    assert not np.array_equal(first[0], other[0])
    assert first[0].dtype == first[1].dtype == np.float32
