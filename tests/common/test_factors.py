from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from pyarrow.feather import write_feather

from common.factors import (
    FactorMatrix,
    Solver,
    apparent_rank,
    gramian,
    read_factors,
    write_factors,
)
from common.model_store import StoreError

MATRIX = np.array([[1.3, -2, 3], [2, 0, 5], [0, -1.5, 5.5]])


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
    matrix.keep({"n5", "a", "unknown"})
    assert len(everything) == len(ids) == 101
    assert list(matrix.ids) == ["a", "n5"]
    assert matrix.vectors.tolist() == [[1], [5]]
    np.testing.assert_allclose(matrix.gramian(), [[26]])
    matrix.keep([])
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
            matrix.keep(ids)
        else:
            matrix.set_many(ids, vectors)
    np.testing.assert_allclose(matrix.gramian(), exact_gramian(matrix), atol=1e-9)


def test_gramian_after_more_single_writes_than_it_keeps_pending() -> None:
    random = np.random.default_rng(1)
    matrix = FactorMatrix(4)
    for n in range(3000):
        matrix.set(f"i{n % 1700}", random.normal(size=4))
    np.testing.assert_allclose(matrix.gramian(), exact_gramian(matrix), rtol=1e-10)


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


def test_files_round_trip(tmp_path: Path) -> None:
    vectors = np.random.default_rng(1).normal(size=(5, 3)).astype(np.float32)
    known = pa.array([[0, 2], [], [1], [4], []], pa.list_(pa.int32()))
    write_factors(tmp_path / "users", list("abcdé"), vectors, known)
    found = read_factors(tmp_path / "users")
    assert found.ids == list("abcdé")
    assert np.array_equal(found.vectors, vectors)
    assert found.known_items is not None
    assert found.known_items.to_pylist() == known.to_pylist()
    matrix = FactorMatrix(3, found.ids, found.vectors)
    assert np.shares_memory(matrix.vectors, found.vectors)
    assert read_factors(tmp_path / "users", with_known_items=False).known_items is None
    write_factors(tmp_path / "items", [], np.zeros((0, 3), np.float32))
    empty = read_factors(tmp_path / "items")
    assert (empty.ids, empty.vectors.shape, empty.known_items) == ([], (0, 3), None)


def test_there_is_room_for_more_where_it_was_asked_for(tmp_path: Path) -> None:
    vectors = np.arange(30, dtype=np.float32).reshape(10, 3)
    write_factors(tmp_path / "items", list("abcdefghij"), vectors)
    stored = read_factors(tmp_path / "items", room=0.2)
    matrix = FactorMatrix(3, stored.id_column, stored.vectors)
    assert np.array_equal(matrix.vectors, vectors)
    for id in "klm":
        matrix.set(id, [1, 2, 3])
        assert np.shares_memory(matrix.vectors, stored.vectors) == (id != "m")
    assert np.array_equal(matrix.vectors[:10], vectors)
    assert matrix.vectors[10:].tolist() == [[1, 2, 3]] * 3
    assert np.allclose(matrix.gramian(), exact_gramian(matrix))
    assert matrix.rows(["m", "a", "?"]).tolist() == [12, 0, -1]


def test_unusable_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "factors"
    with pytest.raises(StoreError, match="factors"):
        read_factors(path)
    path.write_bytes(b"not an Arrow file")
    with pytest.raises(StoreError, match="not a file of factors"):
        read_factors(path)
    write_feather(pa.table({"id": ["a"], "factors": [[1.0]]}), path, compression="uncompressed")
    with pytest.raises(StoreError, match="factors are list"):
        read_factors(path)
    write_factors(path, ["a"], np.array([[np.nan]], np.float32))
    with pytest.raises(StoreError, match="not a finite number"):
        read_factors(path)


def test_gramian_of_more_than_a_block() -> None:
    vectors = np.ones((70_000, 2), np.float32)
    assert gramian(vectors).tolist() == [[70_000, 70_000], [70_000, 70_000]]
