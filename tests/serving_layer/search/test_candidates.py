from __future__ import annotations

import numpy as np
import pytest

from serving_layer.search.candidates import Candidates, Extent

N_ROWS = 3000


@pytest.fixture(params=[7, 16])
def held(request: pytest.FixtureRequest) -> tuple[Candidates, np.ndarray]:
    """Candidates in which all rows are held, and the rows."""
    rows = np.random.default_rng(1).standard_normal((N_ROWS, request.param), np.float32)
    longest = float(np.linalg.norm(rows, axis=1).max())
    extent = Extent(rows.min(axis=0), rows.max(axis=0), longest)
    candidates = Candidates(rows[:1000], extent, n_cells=16)
    candidates.add(rows[:2000])
    candidates.add(rows[2000:])
    return candidates, rows


def unit(query: np.ndarray) -> np.ndarray:
    return np.asarray(query / np.linalg.norm(query))[np.newaxis]


def best(rows: np.ndarray, query: np.ndarray) -> list[int]:
    found: list[int] = np.argsort(-(rows @ query))[:10].tolist()
    return found


def test_in_all_cells_the_best_are_found(held: tuple[Candidates, np.ndarray]) -> None:
    candidates, rows = held
    assert (len(candidates), candidates.n_cells) == (N_ROWS, 16)
    for query in rows[:20]:
        (found,) = candidates.search(unit(query), 30, 16)
        assert set(best(rows, query)) <= set(found.tolist())


def test_a_row_that_is_replaced_is_found_by_its_new_vector(
    held: tuple[Candidates, np.ndarray],
) -> None:
    candidates, rows = held
    changed = np.array([5, 1999, 2999])
    candidates.replace(changed, -rows[changed])
    rows[changed] *= -1
    for at in changed:
        (found,) = candidates.search(unit(rows[at]), 30, 16)
        assert set(best(rows, rows[at])) <= set(found.tolist())
    (found,) = candidates.search(unit(rows[5]), N_ROWS, 16)
    assert sorted(found.tolist()) == [*range(N_ROWS)]


def test_more_than_there_are(held: tuple[Candidates, np.ndarray]) -> None:
    candidates, rows = held
    (found,) = candidates.search(unit(rows[0]), N_ROWS + 5, 16)
    assert (found == -1).sum() == 5


def test_what_bytes_can_hold(held: tuple[Candidates, np.ndarray]) -> None:
    candidates, rows = held
    assert candidates.holds(rows).all()
    assert not candidates.holds(rows + 10).any()
    assert not candidates.holds(rows * 10).any()
