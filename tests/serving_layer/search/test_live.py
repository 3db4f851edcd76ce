"""Inner products and cosines of single rows, to double precision."""

from __future__ import annotations

import numpy as np
import pytest

from common.factors.matrix import FactorMatrix
from serving_layer.search.live import LiveFactors, cosines, dots, dots_with_self

ONE = np.array([1.0, 0.5, -3.5])
OTHER = np.array([0.0, -10.3, -3.0])


def test_oryx_figures_of_two_vectors() -> None:
    rows = np.stack([ONE, OTHER])
    assert dots(rows, OTHER)[0] == pytest.approx(5.35, abs=1e-12)
    assert np.sqrt(dots_with_self(rows)) == pytest.approx([3.6742346, 10.7280007], abs=1e-6)
    assert cosines(rows, OTHER) == pytest.approx([0.1357276, 1.0], abs=1e-6)


@pytest.mark.parametrize("magnitude", [1e-12, 1.0, 1e15])
def test_cosines_of_extreme_vectors_stay_exact(magnitude: float) -> None:
    row = np.array([[magnitude, -2 * magnitude]])
    assert cosines(row, -row[0]) == pytest.approx([-1.0], abs=1e-12)


def test_a_vector_of_zeros_is_like_nothing() -> None:
    assert cosines(np.zeros((1, 3)), ONE).tolist() == [0.0]


def test_a_product_does_not_depend_on_the_rows_beside_it() -> None:
    random = np.random.default_rng(1)
    for k in (1, 3, 8, 50, 251):
        rows, query = random.standard_normal((500, k), np.float32), random.standard_normal(k)
        whole = dots(rows, query)
        for picked in (random.permutation(500)[:n] for n in (1, 2, 7, 130)):
            assert (dots(rows[picked], query) == whole[picked]).all()
        assert (dots(np.asfortranarray(rows), query) == whole).all()


def test_many_vectors_are_set_at_once() -> None:
    factors = LiveFactors(FactorMatrix(2, ["a", "b"], np.ones((2, 2), np.float32)))
    with factors.watch() as touched:
        rows = factors.set_many(["b", "c", "b"], [[1, 1], [3, 4], [6, 8]])
    assert rows.tolist() == touched == [1, 2, 1]
    assert factors.matrix.vectors.tolist() == [[1, 1], [6, 8], [3, 4]]
    assert factors.inverse_norms(3).tolist() == pytest.approx([2**-0.5, 0.1, 0.2])
    assert factors.largest_norm == 10


def test_norms_asked_for_before_and_after_a_write_are_those_of_the_vectors() -> None:
    random = np.random.default_rng(3)
    early, late = (
        LiveFactors(FactorMatrix(2, ["a", "b"], np.ones((2, 2), np.float32))) for _ in range(2)
    )
    early.inverse_norms(2)
    for ids in (["b", "c"], ["d"], ["a", "e", "f"]):
        vectors = random.standard_normal((len(ids), 2))
        early.set_many(ids, vectors)
        late.set_many(ids, vectors)
    expected = 1 / np.linalg.norm(late.matrix.vectors, axis=1)
    assert len(expected) == 6
    assert early.inverse_norms(6) == pytest.approx(expected)
    assert late.inverse_norms(6) == pytest.approx(expected)


def test_norms_first_asked_for_during_a_write_end_as_those_of_the_vectors() -> None:
    factors = LiveFactors(FactorMatrix(1, ["a"], np.ones((1, 1), np.float32)))

    class Watcher(list[int]):
        def extend(self, rows: object) -> None:
            factors.inverse_norms(1)

        def settle(self) -> None:
            pass

    factors.follow(Watcher())
    factors.set_many(["a", "b"], [[2], [4]])
    assert factors.inverse_norms(2).tolist() == [0.5, 0.25]


def test_who_watches_during_a_write_is_told_of_it() -> None:
    factors = LiveFactors(FactorMatrix(1, ["a", "b"], np.ones((2, 1), np.float32)))
    seen: list[int] = []

    class Watcher(list[int]):
        def extend(self, rows: object) -> None:
            with factors.watch() as touched:
                seen.extend(touched)

        def settle(self) -> None:
            with factors.watch() as touched:
                seen.append(len(touched))

    factors.follow(Watcher())
    factors.set_many(["b", "a"], [[2], [3]])
    assert seen == [1, 0, 0]


def test_refused_vectors_change_nothing_and_nobody_is_told() -> None:
    factors = LiveFactors(FactorMatrix(1, ["a"], np.ones((1, 1), np.float32)))
    with factors.watch() as touched, pytest.raises(ValueError, match="finite"):
        factors.set_many(["a", "b"], np.array([[2], [np.inf]]))
    assert touched == []
    assert factors.matrix.vectors.tolist() == [[1]]
