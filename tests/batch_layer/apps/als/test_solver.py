"""The solvers of ALS on the driver, against the definition of what they minimise."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, random_array

from batch_layer.apps.als.solver import Equations, Fit, factorize


def ratings(n_users: int, n_items: int, density: float) -> csr_matrix:
    random = np.random.default_rng(3)
    found = csr_matrix(random_array((n_users, n_items), density=density, rng=random))
    found.data = random.uniform(1, 5, found.nnz).astype(np.float32)
    return found


def defined(
    strengths: csr_matrix, fixed: NDArray[np.float64], fit: Fit, rows: range
) -> NDArray[np.float64]:
    """Return the vectors of some rows from sums over all columns, as the objective is written."""
    dense = strengths.toarray().astype(np.float64)
    given = np.zeros(dense.shape, bool)
    given[strengths.nonzero()] = True
    confidence, preference, counted = given.astype(float), dense, given.sum(1)
    if fit.implicit:
        confidence = 1 + fit.alpha * np.abs(dense)
        preference = (dense > 0).astype(float)
        counted = (dense > 0).sum(1)
    found = []
    for row in rows:
        weighted = fixed * confidence[row][:, None]
        ridge = fit.regularization * counted[row]
        largest = np.linalg.eigvalsh(fixed.T @ fixed).max() if fit.implicit else 0
        system = fixed.T @ weighted + (ridge + 1e-9 * (1 + largest)) * np.eye(fit.features)
        found.append(np.linalg.solve(system, weighted.T @ preference[row]))
    return np.array(found)


@pytest.mark.parametrize("longest", [4096, 20])
@pytest.mark.parametrize("implicit", [True, False])
def test_rows_minimize_the_objective(implicit: bool, longest: int) -> None:
    """Short rows by the small system, longer ones by the large one, long ones by themselves."""
    dense = ratings(60, 50, 0.3).toarray()
    dense[:3] = 0
    dense[5] = 1
    dense[6] *= -1
    dense[7, :20] = -2
    matrix = csr_matrix(dense)
    fixed = np.random.default_rng(4).standard_normal((50, 12)).astype(np.float32)
    counts = np.diff(matrix.indptr)
    assert counts.min() == 0
    assert (counts[counts > 0] < 12).any()
    assert counts.max() == 50
    fit = Fit(12, 0.1, 3.0, 1, implicit, seed=1)
    with ThreadPoolExecutor(2) as pool:
        solved = Equations.of(matrix, fit).solve(fixed, pool, longest)
    expected = defined(matrix, fixed.astype(np.float64), fit, range(60))
    assert np.abs(expected).max() > 0.1
    assert solved == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("size", [1e3, 1e6, 1e9, 1e12])
def test_strong_strengths_give_the_exact_solution(size: float) -> None:
    """Of long and short rows, whatever the strengths' size; some are weak all the same."""
    matrix = ratings(12, 30, 0.3)
    strong = np.random.default_rng(6).random(matrix.nnz) < 0.5
    matrix.data[strong] *= np.float32(size)
    fixed = np.random.default_rng(4).standard_normal((30, 8)).astype(np.float32)
    counts = np.diff(matrix.indptr)
    assert counts.min() < 8 < counts.max()
    fit = Fit(8, 0.1, 1.0, 1, implicit=True, seed=1)
    with ThreadPoolExecutor(2) as pool:
        solved = Equations.of(matrix, fit).solve(fixed, pool)
    exact = in_rationals(matrix, fixed, fit) @ fixed.T
    assert np.abs(exact).max() > 0.5
    assert solved @ fixed.T == pytest.approx(exact, abs=1e-3)


def in_rationals(
    strengths: csr_matrix, fixed: NDArray[np.float32], fit: Fit
) -> NDArray[np.float64]:
    """Return the rows' vectors, computed without any rounding."""
    vectors = np.vectorize(Fraction, otypes=[object])(fixed.astype(np.float64))
    found = []
    for values in strengths.toarray().astype(np.float64):
        given = np.flatnonzero(values)
        weights = [Fraction(fit.alpha * value) for value in values[given]]
        system = vectors.T @ vectors
        system += vectors[given].T @ (np.array(weights)[:, None] * vectors[given])
        system += Fraction(fit.regularization * len(given)) * np.eye(fit.features, dtype=int)
        target = vectors[given].T @ np.array([1 + weight for weight in weights])
        found.append(eliminate(system, target))
    return np.array(found)


def eliminate(system: NDArray[np.object_], target: NDArray[np.object_]) -> list[float]:
    """Solve a positive definite system of rationals (Gauss and Jordan)."""
    rows = np.column_stack([system, target])
    for at in range(len(rows)):
        rows[at] /= rows[at, at]
        others = np.arange(len(rows)) != at
        rows[others] -= rows[others, at][:, None] * rows[at]
    return [float(x) for x in rows[:, -1]]


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


def test_without_regularization_and_with_fewer_items_than_features_it_stays_finite() -> None:
    matrix = ratings(30, 3, 0.9)
    for implicit in (True, False):
        x, y = factorize(matrix, Fit(8, 0.0, 1.0, 5, implicit, seed=1))
        scores = x @ y.T
        assert np.isfinite(scores).all()
        given = matrix.toarray() > 0
        wanted = 1.0 if implicit else matrix.toarray()[given]
        assert scores[given] == pytest.approx(wanted, abs=0.05)


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
