"""Files of factors: what is written is read, shared, and checked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from safetensors.numpy import load_file, save_file

from common.factors.files import read_factors, write_factors
from common.factors.matrix import FactorMatrix, gramian
from common.store.generations import StoreError


def test_files_round_trip(tmp_path: Path) -> None:
    vectors = np.random.default_rng(1).normal(size=(5, 3)).astype(np.float32)
    known = pa.array([[0, 2], [], [1], [4], []], pa.list_(pa.int32()))
    write_factors(tmp_path / "users", list("abcdé"), vectors, known)
    found = read_factors(tmp_path / "users")
    assert found.ids == list("abcdé")
    assert np.array_equal(found.vectors, vectors)
    assert found.known_items is not None
    assert [rows.tolist() for rows in found.known_items] == known.to_pylist()
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
    assert np.allclose(matrix.gramian(), gramian(matrix.vectors))
    assert matrix.rows(["m", "a", "?"]).tolist() == [12, 0, -1]


def test_unusable_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "factors"
    with pytest.raises(StoreError, match="factors"):
        read_factors(path)
    write_factors(path, ["a"], np.ones((1, 2), np.float32))
    whole = path.read_bytes()
    for content in (b"", b"no such file", whole[:-1]):
        path.write_bytes(content)
        with pytest.raises(StoreError, match="not a file of factors"):
            read_factors(path)
    write_factors(path, ["a"], np.array([[np.nan]], np.float32))
    with pytest.raises(StoreError, match="not a finite number"):
        read_factors(path)
    write_factors(path, ["a", "b"], np.ones((3, 2), np.float32))
    with pytest.raises(StoreError, match=r"different numbers: \[2, 3\]"):
        read_factors(path)


def test_other_programs_read_them(tmp_path: Path) -> None:
    vectors = np.arange(6, dtype=np.float32).reshape(3, 2)
    known = pa.array([[0, 2], [], [1]], pa.list_(pa.int32()))
    write_factors(tmp_path / "users", pa.array(["a", "bé", "c"]), vectors, known)
    arrays = load_file(tmp_path / "users")
    assert np.array_equal(arrays["factors"], vectors)
    assert arrays["ids"].tobytes().decode() == "abéc"
    assert arrays["id_offsets"].tolist() == [0, 1, 4, 5]
    assert arrays["known_items"].tolist() == [0, 2, 1]
    assert arrays["known_item_offsets"].tolist() == [0, 2, 2, 3]


def test_slices_of_arrow_columns_are_written_as_they_are(tmp_path: Path) -> None:
    known = pa.array([[7], [0, 2], []], pa.list_(pa.int32())).slice(1)
    write_factors(tmp_path / "users", pa.array(["x", "a", "b"]).slice(1), np.ones((2, 1)), known)
    found = read_factors(tmp_path / "users")
    assert found.ids == ["a", "b"]
    assert found.known_items is not None
    assert [rows.tolist() for rows in found.known_items] == [[0, 2], []]


@pytest.mark.parametrize(
    ("name", "array", "text"),
    [
        ("factors", np.zeros((1, 2), np.float64), "'factors' is F64 of shape"),
        ("factors", np.zeros(1, np.float32), "not float32 of 2 dimensions"),
        ("ids", np.array([0xFF], np.uint8), "invalid start byte"),
        ("id_offsets", np.array([0, 5], np.int32), "do not divide 1 values"),
        ("known_items", np.zeros(1, np.int32), "there is no array 'known_item_offsets'"),
    ],
)
def test_arrays_of_another_kind_are_refused(
    tmp_path: Path, name: str, array: np.ndarray, text: str
) -> None:
    arrays = {
        "factors": np.zeros((1, 2), np.float32),
        "ids": np.array([0x41], np.uint8),
        "id_offsets": np.array([0, 1], np.int32),
    }
    save_file(arrays, tmp_path / "good")
    assert read_factors(tmp_path / "good").ids == ["A"]
    save_file({**arrays, name: array}, tmp_path / "bad")
    with pytest.raises(StoreError, match=text):
        read_factors(tmp_path / "bad")
