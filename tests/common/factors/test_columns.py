from __future__ import annotations

import numpy as np
import pytest

from common.factors.columns import Lists, Texts


def offsets(*numbers: int) -> np.ndarray:
    return np.array(numbers, np.int32)


def test_texts() -> None:
    texts = Texts(offsets(0, 1, 1, 4, 6), "a€bc".encode())
    assert list(texts) == ["a", "", "€", "bc"]
    assert [texts[row] for row in range(-4, 4)] == [*texts, *texts]
    assert (len(texts), texts[1:3]) == (4, ["", "€"])
    assert list(texts.chunks()) == [[b"a", b"", "€".encode(), b"bc"]]
    assert [texts.is_at(row, b"bc") for row in range(4)] == [False, False, False, True]
    for row in (4, -5):
        with pytest.raises(IndexError):
            texts[row]


@pytest.mark.parametrize(
    ("offsets", "data", "what"),
    [
        (offsets(0, 2, 1, 3), b"abc", "do not divide"),
        (offsets(1, 3), b"abc", "do not divide"),
        (offsets(0, 4), b"abc", "do not divide"),
        (offsets(0, 2, 3), "€".encode(), "within a character"),
        (offsets(0, 1), b"\xff", "utf-8"),
        (offsets(0, 2), "€".encode()[:2], "utf-8"),
    ],
)
def test_what_is_no_column_of_texts_is_refused(offsets: np.ndarray, data: bytes, what: str) -> None:
    with pytest.raises(ValueError, match=what):
        Texts(offsets, data)


def test_lists() -> None:
    lists = Lists(offsets(0, 2, 2, 3), np.array([5, 6, 7], np.int32))
    assert [rows.tolist() for rows in lists] == [[5, 6], [], [7]]
    assert [rows.tolist() for rows in lists[1:]] == [[], [7]]
    assert (len(lists), lists[-1].tolist()) == (3, [7])
    with pytest.raises(ValueError, match="do not divide 2 values"):
        Lists(offsets(0, 3), np.zeros(2, np.int32))
