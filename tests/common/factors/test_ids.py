from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.factors.columns import Texts
from common.factors.ids import Ids

NAMES = st.lists(st.text(st.characters(codec="utf-8"), max_size=5), unique=True, max_size=60)


def column(names: list[str]) -> Texts:
    encoded = [name.encode() for name in names]
    return Texts(np.cumsum([0, *map(len, encoded)], dtype=np.int32), b"".join(encoded))


@given(NAMES, st.booleans(), st.integers(0, 60))
def test_rows_and_ids_belong_together(names: list[str], in_column: bool, n_first: int) -> None:
    first, later = names[:n_first], names[n_first:]
    ids = Ids(column(first) if in_column else first)
    ids.append(later)
    assert [ids.row(name) for name in later] == [None] * len(later)
    ids.publish()
    assert (list(ids), len(ids)) == (names, len(names))
    assert [ids[row] for row in range(len(names))] == names
    assert [ids.row(name) for name in names] == [*range(len(names))]
    assert ids.rows([*names, "not there"]).tolist() == [*range(len(names)), -1]
    assert ids[1:-1] == names[1:-1]
    assert all(name in ids for name in names)


@pytest.mark.parametrize("row", [3, -4])
def test_there_is_no_id_beyond_the_last(row: int) -> None:
    ids = Ids(column(["a", "b"]))
    ids.append(["c"])
    assert ids[-1] == "c"
    assert ids[-3] == "a"
    with pytest.raises(IndexError):
        ids[row]


@pytest.mark.parametrize("ids", [["a", "b", "a"], column(["a", "b", "a"])])
def test_an_id_that_comes_twice_is_refused(ids: list[str] | Texts) -> None:
    with pytest.raises(ValueError, match="1 ids come more than once"):
        Ids(ids)


def test_what_is_no_text_is_no_id() -> None:
    others: list[object] = [1, [], None]
    assert [other in Ids(column(["1"])) for other in others] == [False] * 3
