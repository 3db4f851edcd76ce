from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Iterator
from typing import cast

import numpy as np
import pytest
from numpy.typing import NDArray

from common.factors.matrix import FactorMatrix
from serving_layer.search import (
    ApproximateIndex,
    Approximation,
    ExactIndex,
    LiveFactors,
    Query,
    Top,
    cosines,
    dots,
    search_allowed,
)
from tests.waiting import wait_until

Array = NDArray[np.float32]

N_ROWS, N_FACTORS = 20_000, 12


def around_centers(n: int, seed: int) -> Array:
    """Vectors around 60 centers, some of them longer than others."""
    centers = np.random.default_rng(0).standard_normal((60, N_FACTORS), np.float32)
    random = np.random.default_rng(seed)
    vectors = centers[random.integers(0, 60, n)]
    vectors += 0.3 * random.standard_normal((n, N_FACTORS), np.float32)
    return np.asarray(vectors * random.lognormal(0, 0.4, (n, 1)), np.float32)


ITEMS = around_centers(N_ROWS, seed=1)
USERS = around_centers(400, seed=2)
ASKED = around_centers(100, seed=3)


class Searched:
    """An approximate index, and the exact one beside it."""

    def __init__(self, items: Array, above: int = 1000, askers: Array = USERS) -> None:
        ids = [f"i{row}" for row in range(len(items))]
        self.factors = LiveFactors(FactorMatrix(items.shape[1], ids, items.copy()))
        self.exact = ExactIndex(self.factors)
        self.index = ApproximateIndex(
            self.exact, lambda: askers, Approximation(above, 0.95, seed=1)
        )

    def decided(self) -> Searched:
        """Wait until it has been found out whether it may be approximate."""
        wait_until(lambda: not self.index.building)
        return self

    def one(self, query: Query) -> Top:
        return self.index.ask(query)

    def recall(self, queries: list[Query]) -> float:
        exact, found = self.exact.top_n(queries), [self.one(query) for query in queries]
        shares = [np.isin(e.rows, f.rows).mean() for e, f in zip(exact, found, strict=True)]
        assert len(shares) == len(queries) > 0
        return float(np.mean(shares))


def standing() -> Searched:
    searched = Searched(ITEMS).decided()
    assert searched.index.stands()
    return searched


@pytest.fixture
def searched() -> Iterator[Searched]:
    searched = standing()
    yield searched
    searched.decided()


@pytest.fixture(scope="module")
def unchanged() -> Searched:
    """One for all tests that only ask, by inner product."""
    return standing()


@pytest.mark.parametrize("n", [1, 10, 25, 90, 250])
def test_recall_is_what_was_asked_for(unchanged: Searched, n: int) -> None:
    assert unchanged.recall([Query(vector, n) for vector in ASKED]) >= 0.95


def test_scores_are_exact_and_in_order(unchanged: Searched) -> None:
    for vector in ASKED[:10]:
        top = unchanged.one(Query(vector, 10))
        assert len(top.rows) == 10
        assert top.scores.tolist() == dots(ITEMS[top.rows], vector).tolist()
        assert top.scores.tolist() == sorted(top.scores, reverse=True)


def test_cosines_are_exact_until_an_index_stands_for_them_too(searched: Searched) -> None:
    query = Query(ITEMS[5], 10, np.array([5]), cosine=True)
    first = searched.one(query)
    assert first.rows.tolist() == searched.exact.top_n([query])[0].rows.tolist()
    searched.decided()
    assert searched.index.stands(cosine=True)
    queries = [Query(vector, 10, cosine=True) for vector in ASKED]
    assert searched.recall(queries) >= 0.95
    top = searched.one(queries[0])
    assert top.scores.tolist() == cosines(ITEMS[top.rows], ASKED[0]).tolist()


@pytest.mark.parametrize("excluded", [20, 400, N_ROWS - 7, N_ROWS])
def test_exclusions_never_shorten_a_page(unchanged: Searched, excluded: int) -> None:
    order = unchanged.exact.top_n([Query(ASKED[0], N_ROWS)])[0].rows
    top = unchanged.one(Query(ASKED[0], 10, order[:excluded]))
    assert len(top.rows) == min(10, N_ROWS - excluded)
    assert not np.isin(top.rows, order[:excluded]).any()
    assert np.isin(top.rows, order[excluded : excluded + 20]).all()


def test_a_filter_never_shortens_a_page(unchanged: Searched) -> None:
    top = search_allowed(
        lambda n: unchanged.one(Query(ASKED[0], n)), 10, lambda rows: rows % 3000 == 0
    )
    assert len(top.rows) == len(range(0, N_ROWS, 3000))


@pytest.mark.parametrize("cosine", [False, True])
def test_a_changed_or_new_vector_is_found_at_once(searched: Searched, cosine: bool) -> None:
    query = Query(ASKED[0], 2, cosine=cosine)
    searched.one(query)
    searched.decided()
    length = 50 if cosine else 1
    for turn in range(1, 4):
        searched.factors.set("i77", ASKED[0] * 20 * turn * length)
        searched.factors.set("i78", ASKED[0] * 19 * turn * length + 0.001)
        assert searched.one(query).rows.tolist() == [77, 78]
    searched.factors.set("i77", -ASKED[0])
    assert searched.one(query).rows[0] == 78
    searched.factors.set("new", ASKED[0] * 100)
    assert N_ROWS in searched.one(query).rows
    assert 77 not in searched.one(Query(ASKED[0], 300, cosine=cosine)).rows


def test_what_changes_and_comes_stays_findable(searched: Searched) -> None:
    # More than is kept apart: most of it has been taken into the cells.
    changed = around_centers(5000, seed=7)
    for row, vector in enumerate(changed[:3000]):
        searched.factors.set(f"i{row}", vector)
    for row, vector in enumerate(changed[3000:]):
        searched.factors.set(f"new{row}", vector)
    assert len(searched.factors.matrix) == N_ROWS + 2000
    assert searched.recall([Query(vector, 10) for vector in ASKED]) >= 0.95


def test_changes_are_taken_into_the_cells_although_queries_come_between(
    searched: Searched,
) -> None:
    inverted = searched.index.standing()
    assert inverted is not None
    before = inverted.n_apart
    changed = around_centers(3000, seed=10)
    for start in range(0, 3000, 50):
        ids = [f"i{row}" for row in range(start, start + 50)]
        searched.factors.set_many(ids, changed[start : start + 50])
        assert len(searched.one(Query(ASKED[start % 100], 10)).rows) == 10
    # Some of them reach beyond the cells.
    assert searched.index.standing() is inverted
    assert inverted.n_apart < before + 1200
    assert searched.recall([Query(vector, 10) for vector in ASKED]) >= 0.95


def test_a_row_that_changes_over_and_over_hides_no_other(searched: Searched) -> None:
    for turn in range(300):
        searched.factors.set("i77", ASKED[0] * (1000 + turn))
    searched.factors.set("i77", ITEMS[77])
    searched.factors.set("i78", ASKED[0] * 20)
    assert searched.one(Query(ASKED[0], 1)).rows.tolist() == [78]


def test_rows_beyond_the_range_of_the_cells_are_found(searched: Searched) -> None:
    # Bytes hold them as not quite so long; their own scores must decide all the same.
    best = ASKED[0] / np.linalg.norm(ASKED[0])
    for row in range(1500):
        searched.factors.set(f"i{row}", best * (1000 + row))
    for row in range(2000, 3500):
        searched.factors.set(f"i{row}", ITEMS[row])
    assert searched.one(Query(ASKED[0], 3)).rows.tolist() == [1499, 1498, 1497]


def test_the_cells_are_made_anew_when_half_of_the_rows_have_changed(searched: Searched) -> None:
    moved = around_centers(N_ROWS, seed=8)[:, ::-1]
    before = searched.index.standing()
    for row in range(12_000):
        searched.factors.set(f"i{row}", moved[row])
    searched.one(Query(ASKED[0], 10))
    searched.decided()
    assert searched.index.stands()
    assert searched.index.standing() is not before
    assert searched.recall([Query(vector, 10) for vector in ASKED]) >= 0.9


def test_vectors_that_do_not_lend_themselves_to_it_are_scanned() -> None:
    random = np.random.default_rng(4)
    searched = Searched(random.standard_normal((5000, N_FACTORS), np.float32)).decided()
    assert searched.recall([Query(vector, 10) for vector in ASKED]) == 1
    assert not searched.index.building
    assert not searched.index.stands()


def test_items_most_of_which_are_hardly_known() -> None:
    # As trained factors are: lengths by a power law, a hundredfold apart.
    lengths = 0.01 * (1 + np.random.default_rng(5).pareto(1.2, (N_ROWS, 1)))
    searched = Searched(np.asarray(ITEMS * lengths, np.float32)).decided()
    assert searched.index.stands()
    assert searched.recall([Query(vector, 10) for vector in ASKED]) >= 0.95
    searched.factors.set("i9", ASKED[0] * 1000)
    assert searched.one(Query(ASKED[0], 1)).rows.tolist() == [9]


def test_few_rows_are_scanned_until_there_are_more() -> None:
    searched = Searched(ITEMS[:2000], above=3000)
    assert searched.recall([Query(vector, 10) for vector in ASKED]) == 1
    assert not searched.index.stands()
    for row in range(2000, 9000):
        searched.factors.set(f"i{row}", ITEMS[row])
    searched.one(Query(ASKED[0], 10))
    assert searched.decided().index.stands()
    assert searched.recall([Query(vector, 10) for vector in ASKED]) >= 0.95


class NoMemory:
    """Stands for vectors of users that there is no memory to copy."""

    def __len__(self) -> int:
        return len(USERS)

    def __getitem__(self, rows: object) -> Array:
        message = "no memory"
        raise MemoryError(message)


def test_a_build_that_fails_leaves_exact_answers(caplog: pytest.LogCaptureFixture) -> None:
    searched = Searched(ITEMS, askers=cast(Array, NoMemory())).decided()
    assert "no memory" in caplog.text
    assert searched.recall([Query(vector, 10) for vector in ASKED]) == 1
    assert searched.factors.n_watchers == 0


def test_nothing_keeps_a_model_alive_that_nobody_uses() -> None:
    searched = Searched(ITEMS).decided()
    searched.one(Query(ASKED[0], 10))
    factors = weakref.ref(searched.factors)
    gc.disable()
    try:
        del searched
        # The thread that has built the cells ends by itself.
        wait_until(lambda: factors() is None)
    finally:
        gc.enable()


@pytest.mark.slow
def test_many_ask_while_one_writes(searched: Searched) -> None:
    stop = threading.Event()
    asked: list[int] = []

    def ask(seed: int) -> None:
        count = 0
        while not (stop.is_set() and count):
            top = searched.one(Query(ASKED[(seed + count) % len(ASKED)], 10))
            assert len(top.rows) == 10
            count += 1
        asked.append(count)

    threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(3)]
    for thread in threads:
        thread.start()
    changed = around_centers(6000, seed=9)
    for row, vector in enumerate(changed):
        searched.factors.set(f"i{row}" if row % 2 else f"new{row}", vector)
    stop.set()
    for thread in threads:
        thread.join(60)
    assert len(asked) == 3
    assert min(asked) > 0
    assert searched.recall([Query(vector, 10) for vector in ASKED]) >= 0.95
