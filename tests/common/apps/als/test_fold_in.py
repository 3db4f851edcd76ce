import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.apps.als.fold_in import FoldIn, Strengths, target, updated_vectors
from common.factors.matrix import gramian
from common.factors.solver import Solver

NAN = float("nan")


def solver_of(vectors: np.ndarray) -> Solver:
    solver = Solver.of(gramian(vectors))
    assert solver is not None
    return solver


@pytest.mark.parametrize(
    ("value", "estimate", "expected"),
    [
        (0, 0.3, NAN),
        (0.5, 1, NAN),
        (-0.5, 0, NAN),
        (1, 0.5, 0.75),
        (-1, 0.5, 0.25),
        (1, -0.5, 0.0),
        (-1, 1.5, 1.0),
        (NAN, 0.5, NAN),
    ],
)
def test_oryx_implicit_target(value: float, estimate: float, expected: float) -> None:
    np.testing.assert_allclose(target(value, estimate, implicit=True), expected)
    np.testing.assert_allclose(target([value] * 2, [estimate] * 2, implicit=True), [expected] * 2)


def test_explicit_target_is_the_strength() -> None:
    assert target([0, -2.5, 4], [9, 9, 9], implicit=False).tolist() == [0, -2.5, 4]


def test_oryx_updated_vectors() -> None:
    solver = solver_of(np.array([[1, 2], [3, 0], [0, 1]]))
    item = np.array([[2.0, 1.0]])
    new = updated_vectors(solver, [1], None, item, True)
    np.testing.assert_allclose(new, [[0.13043478, 0.097826086]], atol=1e-6)
    new = updated_vectors(solver, [0.5], None, item, True)
    np.testing.assert_allclose(new, [[0.11594203, 0.08695652]], atol=1e-6)
    known = updated_vectors(solver, [1], np.array([[0.1, 0.1]]), item, True)
    np.testing.assert_allclose(known, [[0.16086957, 0.14565217]], atol=1e-6)
    assert np.isnan(updated_vectors(solver, [0], None, item, True)).all()


def one_by_one(
    solver: Solver, fixed: np.ndarray, events: Strengths, current: np.ndarray, implicit: bool
) -> set[int]:
    """Fold in event by event with Oryx's rule; rows without a vector are NaN."""
    changed = set()
    for row, other, value in zip(events.rows, events.others, events.values, strict=True):
        base = None if np.isnan(current[row]).any() else current[row : row + 1]
        moved = updated_vectors(solver, [value], base, fixed[other : other + 1], implicit)
        if not np.isnan(moved).any():
            current[row] = moved[0]
            changed.add(int(row))
    return changed


EVENTS = st.lists(
    st.tuples(
        st.integers(0, 5), st.integers(0, 7), st.sampled_from([1.0, 3.0, 0.0, -1.0, -4.0, 0.5])
    ),
    max_size=60,
)


@given(EVENTS, st.booleans(), st.lists(st.booleans(), min_size=6, max_size=6))
def test_rounds_equal_one_event_after_the_other(
    drawn: list[tuple[int, int, float]], implicit: bool, exists: list[bool]
) -> None:
    random = np.random.default_rng(7)
    fixed = random.normal(size=(8, 3))
    columns = np.array(drawn, np.float64).reshape(-1, 3)
    events = Strengths(
        columns[:, 0].astype(np.int64), columns[:, 1].astype(np.int64), columns[:, 2]
    )
    known = np.array(exists)
    start = np.where(known[:, np.newaxis], random.normal(size=(6, 3)), 0.0)
    expected = np.where(known[:, np.newaxis], start, NAN)
    solver = solver_of(fixed)
    expected_changed = one_by_one(solver, fixed, events, expected, implicit)
    current = start.copy()
    changed = FoldIn(solver, fixed, implicit).apply(events, current, known)
    assert set(np.flatnonzero(changed)) == expected_changed
    assert known.tolist() == exists
    np.testing.assert_allclose(current, np.nan_to_num(expected), rtol=1e-9, atol=1e-12)


def test_a_thousand_events_of_one_user_draw_the_estimate_to_the_target() -> None:
    random = np.random.default_rng(3)
    fixed = random.normal(size=(20, 4))
    count = 1000
    events = Strengths(np.zeros(count, np.int64), np.full(count, 5), np.full(count, 2.0))
    current = np.zeros((1, 4))
    changed = FoldIn(solver_of(fixed), fixed, implicit=False).apply(
        events, current, np.zeros(1, np.bool_)
    )
    assert changed.all()
    assert current[0] @ fixed[5] == pytest.approx(2.0)
