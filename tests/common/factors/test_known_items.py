from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.factors.known_items import KnownItems

Sets = list[set[int]]

ROWS = st.sets(st.integers(0, 9))


def of_sets(sets: Sets) -> KnownItems:
    indptr = np.cumsum([0, *map(len, sets)])
    return KnownItems(indptr, np.array([row for rows in sets for row in rows], np.int32))


def assert_holds(known: KnownItems, sets: Sets) -> None:
    for user, rows in enumerate(sets):
        found = known.of(user)
        assert found.dtype == np.int32
        assert sorted(found.tolist()) == sorted(rows)
    assert known.user_counts(len(sets)).tolist() == [len(rows) for rows in sets]
    expected = [sum(item in rows for rows in sets) for item in range(12)]
    assert known.item_counts(12).tolist() == expected
    assert known.item_counts(3).tolist() == expected[:3]


def test_empty() -> None:
    known = KnownItems()
    assert known.of(0).tolist() == []
    assert known.of(5).tolist() == []
    assert known.item_counts(2).tolist() == [0, 0]
    assert known.user_counts(2).tolist() == [0, 0]


def test_users_and_items_may_be_new() -> None:
    known = of_sets([{1, 2}])
    known.add(3, [7, 2])
    assert_holds(known, [{1, 2}, set(), set(), {7, 2}])


def test_what_a_reader_holds_stays() -> None:
    known = of_sets([{1, 2}, {3}])
    before, counts = known.of(0), known.item_counts(4)
    known.add(0, [3])
    after = known.of(0)
    known.remove(0, [1])
    assert before.tolist() == [1, 2]
    assert after.tolist() == [1, 2, 3]
    assert counts.tolist() == [0, 1, 1, 1]
    with pytest.raises(ValueError, match="read-only"):
        after[0] = 5


def test_an_unchanged_user_costs_nothing() -> None:
    indices = np.arange(5, dtype=np.int32)
    known = KnownItems([0, 2, 5], indices)
    assert np.shares_memory(known.of(1), indices)
    known.add(0, [4])
    assert np.shares_memory(known.of(1), indices)
    known.add(1, [2, 3])
    assert np.shares_memory(known.of(1), indices)


@pytest.mark.parametrize(
    ("indptr", "indices"),
    [([0, 3], [1, 2]), ([1, 2], [1, 2]), ([0, 3, 2], [1, 2]), ([], []), ([0, 1], [-1])],
)
def test_a_matrix_that_does_not_fit_is_refused(indptr: list[int], indices: list[int]) -> None:
    with pytest.raises(ValueError, match=r"indptr|negative"):
        KnownItems(indptr, indices)


@given(st.lists(ROWS, max_size=5), st.lists(st.tuples(st.booleans(), st.integers(0, 7), ROWS)))
def test_any_changes_leave_what_sets_would_hold(
    start: Sets, changes: list[tuple[bool, int, set[int]]]
) -> None:
    known = of_sets(start)
    sets = [*map(set, start), *(set[int]() for _ in range(8 - len(start)))]
    for adds, user, rows in changes:
        if adds:
            known.add(user, sorted(rows))
            sets[user] |= rows
        else:
            known.remove(user, sorted(rows))
            sets[user] -= rows
    assert_holds(known, sets)


def test_select_numbers_users_and_items_anew() -> None:
    known = of_sets([{0, 1}, {1, 2}, {2}])
    known.add(2, [0])
    new_items = np.array([1, -1, 0], np.int32)
    assert_holds(known.select([2, 1], new_items), [{0, 1}, {0}])
    assert_holds(known, [{0, 1}, {1, 2}, {0, 2}])
    assert known.select([], new_items).of(0).tolist() == []
