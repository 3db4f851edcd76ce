from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from common.factors.matrix import FactorMatrix, gramian


def exact_gramian(matrix: FactorMatrix) -> NDArray[np.float64]:
    vectors = matrix.vectors.astype(np.float64)
    return np.asarray(vectors.T @ vectors)


def test_rows_follow_ids() -> None:
    matrix = FactorMatrix(2, ["a", "b"], np.array([[1, 2], [3, 4]], np.float32))
    assert matrix.set("c", [5, 6]) == 2
    assert matrix.set("a", [7, 8]) == 0
    assert list(matrix.set_many(["d", "b", "d"], [[1, 1], [2, 2], [3, 3]])) == [3, 1, 3]
    assert list(matrix.ids) == ["a", "b", "c", "d"]
    assert len(matrix) == 4
    assert matrix.vectors.tolist() == [[7, 8], [2, 2], [5, 6], [3, 3]]
    assert matrix.vectors.dtype == np.float32
    assert matrix.vectors.flags.c_contiguous
    assert list(matrix.rows(["d", "x", "a"])) == [3, -1, 0]
    assert (matrix.row("b"), matrix.row("x")) == (1, None)
    assert "b" in matrix
    assert "x" not in matrix
    assert matrix.changes == 2 + 2 + 3


def test_get_is_a_copy_and_views_are_read_only() -> None:
    matrix = FactorMatrix(2, ["a"], np.array([[1, 2]], np.float32))
    copy = matrix.get("a")
    assert copy is not None
    copy[:] = 9
    assert matrix.get("x") is None
    assert matrix.vectors.tolist() == [[1, 2]]
    with pytest.raises(ValueError, match="read-only"):
        matrix.vectors[0] = 1


def test_a_view_outlives_growth_and_retention() -> None:
    matrix = FactorMatrix(1, ["a"], np.array([[1]], np.float32))
    before, ids = matrix.vectors, matrix.ids
    for n in range(100):
        matrix.set(f"n{n}", [n])
    assert before.tolist() == [[1]]
    everything = matrix.vectors
    matrix = matrix.select(matrix.rows(["a", "n5"]))
    assert len(everything) == len(ids) == 101
    assert list(matrix.ids) == ["a", "n5"]
    assert matrix.vectors.tolist() == [[1], [5]]
    np.testing.assert_allclose(matrix.gramian(), [[26]])
    matrix = matrix.select(matrix.rows([]))
    assert len(matrix) == 0
    assert matrix.set("z", [2]) == 0


@pytest.mark.parametrize(
    ("vector", "what"),
    [([1.0], "shape"), ([1.0, np.nan], "not finite"), ([1.0, np.inf], "not finite")],
)
def test_bad_vectors_change_nothing(vector: list[float], what: str) -> None:
    matrix = FactorMatrix(2, ["a"], np.array([[1, 2]], np.float32))
    with pytest.raises(ValueError, match=what):
        matrix.set("a", vector)
    with pytest.raises(ValueError, match=what):
        matrix.set_many(["b"], [vector])
    assert matrix.vectors.tolist() == [[1, 2]]
    assert matrix.gramian().tolist() == [[1, 2], [2, 4]]


def test_ids_must_differ() -> None:
    with pytest.raises(ValueError, match="1 ids come more than once"):
        FactorMatrix(1, ["a", "a"])


def test_oryx_gramian() -> None:
    matrix = FactorMatrix(3)
    matrix.set_many(["a", "b"], np.array([[1, 2, 4], [1.5, -1, 0]]))
    expected: list[list[float]] = [[3.25, 0.5, 4], [0.5, 5, 8], [4, 8, 16]]
    np.testing.assert_allclose(matrix.gramian(), expected)
    with ThreadPoolExecutor() as pool:
        np.testing.assert_allclose(pool.submit(matrix.gramian).result(), expected)


@given(
    st.lists(
        st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(-9, 9)), min_size=1, max_size=5),
        max_size=12,
    )
)
def test_gramian_follows_every_kind_of_write(
    writes: list[list[tuple[str, int]]],
) -> None:
    matrix = FactorMatrix(2, ["a"], np.array([[3, 1]], np.float32))
    for write in writes:
        ids = [id for id, _ in write]
        vectors = [[value, value * 0.5 + 1] for _, value in write]
        if len(write) == 1:
            matrix.set(ids[0], vectors[0])
        elif len(write) == 5:
            matrix = matrix.select(np.flatnonzero([id in ids for id in matrix.ids]))
        else:
            matrix.set_many(ids, vectors)
    np.testing.assert_allclose(matrix.gramian(), exact_gramian(matrix), atol=1e-9)


def test_gramian_after_more_single_writes_than_it_keeps_pending() -> None:
    random = np.random.default_rng(1)
    matrix = FactorMatrix(4)
    for n in range(3000):
        matrix.set(f"i{n % 1700}", random.normal(size=4))
    np.testing.assert_allclose(matrix.gramian(), exact_gramian(matrix), rtol=1e-10)


@pytest.mark.slow
def test_concurrent_writers_lose_nothing() -> None:
    matrix = FactorMatrix(2)

    def write(worker: int) -> None:
        for n in range(10_000):
            matrix.set(f"{worker}-{n}", (worker, n))

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(write, range(16)))
    assert len(matrix) == 160_000
    assert len(set(matrix.ids)) == 160_000
    expected = [tuple(map(int, id.split("-"))) for id in matrix.ids]
    assert np.array_equal(matrix.vectors, np.array(expected, np.float32))
    np.testing.assert_allclose(matrix.gramian(), exact_gramian(matrix))


def test_gramian_of_more_than_a_block() -> None:
    vectors = np.ones((70_000, 2), np.float32)
    assert gramian(vectors).tolist() == [[70_000, 70_000], [70_000, 70_000]]
