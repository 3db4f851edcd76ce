from __future__ import annotations

import itertools
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from common.factors.matrix import FactorMatrix
from serving_layer.search import (
    ExactIndex,
    LiveFactors,
    Query,
    RequestBatcher,
    Top,
    cosines,
    dots,
    search_allowed,
    top_of,
)
from serving_layer.search.live import RowNumbers, Touched
from tests.waiting import wait_until

Array = NDArray[np.float32]


def factors_of(vectors: Array) -> LiveFactors:
    ids = [f"i{row}" for row in range(len(vectors))]
    return LiveFactors(FactorMatrix(vectors.shape[1], ids, vectors))


def index_of(vectors: Array, workers: int | None = None) -> ExactIndex:
    return ExactIndex(factors_of(vectors), workers)


def brute_force(vectors: Array, query: Query) -> Top:
    score = cosines if query.cosine else dots
    scores = score(vectors, query.vector)
    order = np.lexsort((np.arange(len(vectors)), -scores))
    rows = order[~np.isin(order, query.exclude)][: query.n]
    return Top(rows, scores[rows])


def assert_same(found: Top, expected: Top) -> None:
    assert found.rows.tolist() == expected.rows.tolist()
    assert found.scores.tolist() == expected.scores.tolist()


def random_vectors(n: int, k: int, seed: int = 1) -> Array:
    return np.random.default_rng(seed).standard_normal((n, k), np.float32)


@pytest.mark.parametrize("cosine", [False, True])
@pytest.mark.parametrize("n_rows", [1, 9, 4095, 4096, 70_001])
@pytest.mark.parametrize("n", [1, 10, 700])
@pytest.mark.parametrize("k", [7, 110])
def test_it_equals_brute_force(k: int, n_rows: int, n: int, cosine: bool) -> None:
    vectors = random_vectors(n_rows, k)
    queries = [Query(vector, n, cosine=cosine) for vector in random_vectors(3, k, seed=2)]
    found = index_of(vectors).top_n(queries)
    assert len(found) == 3
    for top, query in zip(found, queries, strict=True):
        assert len(top.rows) == min(n, n_rows)
        assert_same(top, brute_force(vectors, query))


@pytest.mark.parametrize("cosine", [False, True])
def test_of_equal_scores_the_lower_row_comes_first(cosine: bool) -> None:
    vectors = np.random.default_rng(3).integers(-1, 2, (20_000, 3)).astype(np.float32)
    query = Query(np.array([1.0, 1.0, -1.0]), 100, cosine=cosine)
    (found,) = index_of(vectors).top_n([query])
    assert len(set(found.scores)) == 1
    assert_same(found, brute_force(vectors, query))


def test_scores_that_differ_by_less_than_float32_can_tell_are_in_order() -> None:
    query = np.array([1.0, 2.0**-26])
    vectors = np.ones((9_000, 2), np.float32)
    vectors[:, 1] = np.random.default_rng(4).permutation(9_000)
    (found,) = index_of(vectors).top_n([Query(query, 5)])
    assert_same(found, brute_force(vectors, Query(query, 5)))
    assert vectors[found.rows, 1].tolist() == [8999, 8998, 8997, 8996, 8995]


def test_excluding_more_than_a_page_empties_none() -> None:
    vectors = random_vectors(50_000, 5)
    best = brute_force(vectors, Query(np.ones(5), 30_000)).rows
    queries = [
        Query(np.ones(5), 10, exclude=np.random.default_rng(5).permutation(best)),
        Query(np.ones(5), 10, exclude=best[:15]),
        Query(np.ones(5), 10),
        Query(np.ones(5), 10, exclude=np.array([-1, 50_000])),
    ]
    found = index_of(vectors).top_n(queries)
    for top, query in zip(found, queries, strict=True):
        assert len(top.rows) == 10
        assert_same(top, brute_force(vectors, query))


def test_everything_excluded_leaves_nothing() -> None:
    (found,) = index_of(random_vectors(10, 2)).top_n([Query(np.ones(2), 3, np.arange(10))])
    assert found.rows.tolist() == []


def test_nothing_to_search_is_no_error() -> None:
    (found,) = index_of(np.zeros((0, 2), np.float32)).top_n([Query(np.ones(2), 3)])
    assert found.rows.tolist() == []


def test_an_answer_does_not_depend_on_its_company() -> None:
    vectors = random_vectors(30_000, 11)
    index = index_of(vectors)
    queries = [
        Query(vector, n, cosine=n % 2 == 0)
        for n, vector in enumerate(random_vectors(40, 11, seed=6), 1)
    ]
    together = index.top_n(queries)
    alone = [index_of(vectors, workers=1).top_n([query])[0] for query in queries]
    assert len(together) == 40
    for one, other in zip(together, alone, strict=True):
        assert_same(one, other)


@pytest.mark.parametrize("scale", [1e-30, 1e-10, 1e10, 1e30])
def test_extreme_magnitudes(scale: float) -> None:
    vectors = random_vectors(5000, 4) * np.float32(scale)
    query = Query(random_vectors(1, 4, seed=7)[0].astype(np.float64) * scale, 20)
    (found,) = index_of(vectors).top_n([query])
    assert_same(found, brute_force(vectors, query))


def test_a_query_that_counts_as_zero_has_no_angle_to_any_row() -> None:
    vectors = np.array([[0.0, 0.0], [-1.0, 0.0]], np.float32)
    query = Query(np.array([-1e-43, 0.0]), 1, cosine=True)
    (found,) = index_of(vectors).top_n([query])
    assert_same(found, brute_force(vectors, query))
    (found,) = index_of(vectors).top_n([Query(query.vector, 1)])
    assert found.rows.tolist() == [1]


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(st.data())
def test_any_matrix_equals_brute_force(data: st.DataObject) -> None:
    k = data.draw(st.integers(1, 4))
    value = st.floats(-1e6, 1e6, width=32) | st.integers(-2, 2).map(float)
    row = st.lists(value, min_size=k, max_size=k)
    vectors = np.array(data.draw(st.lists(row, min_size=1, max_size=40)), np.float32)
    rows = st.lists(st.integers(0, len(vectors) - 1), unique=True)
    queries = [
        Query(
            np.array(data.draw(row)),
            data.draw(st.integers(1, 50)),
            np.array(data.draw(rows), np.int64),
            data.draw(st.booleans()),
        )
        for _ in range(data.draw(st.integers(1, 3)))
    ]
    for top, query in zip(index_of(vectors).top_n(queries), queries, strict=True):
        assert_same(top, brute_force(vectors, query))


def test_a_pass_that_would_need_too_much_memory_is_split() -> None:
    vectors = random_vectors(1000, 3)
    queries = [Query(vector, 900) for vector in random_vectors(5, 3, seed=8)]
    index = ExactIndex(factors_of(vectors), maxima_bytes=4 * 1000)
    for top, query in zip(index.top_n(queries), queries, strict=True):
        assert_same(top, brute_force(vectors, query))


def test_a_changed_or_new_vector_is_found_at_once() -> None:
    index = index_of(random_vectors(5000, 3))
    index.factors.set("i77", [50, 0, 0])
    index.factors.set("new", [40, 0, 0])
    (found,) = index.top_n([Query(np.array([1.0, 0, 0]), 2)])
    assert found.rows.tolist() == [77, 5000]
    assert found.scores.tolist() == [50, 40]
    (found,) = index.top_n([Query(np.array([1.0, 0, 0]), 5001, cosine=True)])
    assert found.scores[:2].tolist() == [1, 1]
    assert 5000 in found.rows


def test_a_refused_vector_changes_nothing() -> None:
    index = index_of(random_vectors(50, 2))
    before = index.top_n([Query(np.ones(2), 50)])[0]
    with pytest.raises(ValueError, match="finite"):
        index.factors.set("i3", [np.nan, 1])
    assert_same(index.top_n([Query(np.ones(2), 50)])[0], before)


def test_a_scan_never_answers_with_half_a_vector() -> None:
    # Every vector is all of one number, and the query sums with weights so that any mixture of
    # two of them would show as a score that is none of these.
    k, n = 400, 300
    vectors = np.repeat(np.arange(n, dtype=np.float32)[:, np.newaxis], k, axis=1)
    index = index_of(vectors)
    stop = threading.Event()

    def write() -> None:
        value = n
        while not stop.is_set():
            index.factors.set(f"i{value % n}", np.full(k, value % 1000, np.float32))
            value += 7

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(150):
            (found,) = index.top_n([Query(np.ones(k), 20)])
            assert len(found.rows) == 20
            assert (found.scores % k == 0).all()
            (found,) = index.top_n([Query(np.ones(k), 20, cosine=True)])
            assert ((abs(found.scores - 1) < 1e-12) | (found.scores == 0)).all()
    finally:
        stop.set()
        writer.join()


class WrittenMeanwhile(LiveFactors):
    """A row is long while a scan goes on, and no more when what the scan found is scored."""

    n_mended = 0

    @contextmanager
    def watch(self) -> Iterator[Touched]:
        with super().watch() as touched:
            self.set("i5", [1e6, 0, 0])
            yield touched

    def mend(self, copy: Array, rows: RowNumbers, touched: Iterable[int]) -> None:
        self.set("i5", [-1e6, 0, 0])
        self.n_mended += 1
        super().mend(copy, rows, touched)


def test_a_row_that_changes_during_a_scan_neither_hides_nor_adds() -> None:
    vectors = random_vectors(40_000, 3)
    factors = WrittenMeanwhile(factors_of(vectors.copy()).matrix)
    index = ExactIndex(factors)
    query = Query(np.array([1.0, 0.5, 0.0]), 10)
    vectors[5] = [-1e6, 0, 0]
    assert_same(index.top_n([query])[0], brute_force(vectors, query))
    assert factors.n_mended > 0


def test_scores_of_all_rows_leave_out_the_excluded() -> None:
    vectors = random_vectors(20_000, 3)
    scores = index_of(vectors).scores(Query(np.ones(3), 1, np.array([4, 19_999])))
    assert np.flatnonzero(np.isnan(scores)).tolist() == [4, 19_999]
    assert scores[5] == dots(vectors[5:6], np.ones(3))[0]


def test_top_five_of_shuffled_numbers() -> None:
    numbers = np.random.default_rng(9).permutation(100).astype(np.float64)
    found = top_of(np.arange(100), numbers, 5)
    assert found.scores.tolist() == [99, 98, 97, 96, 95]
    assert numbers[found.rows].tolist() == [99, 98, 97, 96, 95]


def test_nan_is_no_candidate() -> None:
    scores = np.array([np.nan, 2.0, np.nan, 3.0])
    assert top_of(np.arange(4), scores, 3).rows.tolist() == [3, 1]


@pytest.mark.parametrize("share", [1, 2, 100, 20_000])
def test_a_filter_widens_the_search_until_the_page_is_full(share: int) -> None:
    vectors = random_vectors(20_000, 3)
    index = index_of(vectors)
    found = search_allowed(
        lambda n: index.top_n([Query(np.ones(3), n)])[0], 10, lambda rows: rows % share == 0
    )
    order = brute_force(vectors, Query(np.ones(3), 20_000)).rows
    assert found.rows.tolist() == [row for row in order if row % share == 0][:10]
    assert len(found.rows) == min(10, 20_000 // share)


def test_one_caller_computes_alone_and_at_once() -> None:
    gatherer: RequestBatcher[int, int] = RequestBatcher(lambda queries: [q * 2 for q in queries])
    assert [gatherer.ask(number) for number in range(5)] == [0, 2, 4, 6, 8]


def test_callers_that_come_meanwhile_share_a_computation() -> None:
    gate, started = threading.Event(), threading.Event()
    batches: list[list[int]] = []

    def compute(queries: list[int]) -> Sequence[int]:
        batches.append(queries)
        started.set()
        assert gate.wait(60)
        return [query * query for query in queries]

    gatherer: RequestBatcher[int, int] = RequestBatcher(compute, limit=4)
    answers: dict[int, int] = {}

    def ask(number: int) -> None:
        answers[number] = gatherer.ask(number)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(10)]
    threads[0].start()
    assert started.wait(60)
    for thread in threads[1:]:
        thread.start()
    wait_until(lambda: gatherer.n_waiting == 9)
    gate.set()
    for thread in threads:
        thread.join(60)
    assert answers == {number: number * number for number in range(10)}
    assert [len(batch) for batch in batches] == [1, 4, 4, 1]


def test_those_just_answered_are_waited_for_and_asked_together() -> None:
    batches: list[int] = []
    taken = threading.Event()

    def compute(queries: list[int]) -> Sequence[int]:
        batches.append(len(queries))
        if len(batches) == 1:
            assert taken.wait(60)
        return queries

    # A clock by which every computation takes a second, and a patience that outlasts the test.
    times = itertools.count()
    gatherer: RequestBatcher[int, int] = RequestBatcher(
        compute, patience=60, clock=lambda: next(times)
    )

    def ask_often(number: int, times: int) -> None:
        for _ in range(times):
            assert gatherer.ask(number) == number

    # The one who comes first is computed alone once.
    often = [21, *[20] * 7]
    threads = [threading.Thread(target=ask_often, args=pair) for pair in enumerate(often)]
    threads[0].start()
    wait_until(lambda: len(batches) == 1)
    for thread in threads[1:]:
        thread.start()
    wait_until(lambda: gatherer.n_waiting == 7)
    taken.set()
    for thread in threads:
        thread.join(60)
    assert batches == [1, *[8] * 20]


def test_one_who_asks_alone_waits_for_nobody() -> None:
    gatherer: RequestBatcher[int, int] = RequestBatcher(lambda queries: queries, patience=1e9)
    assert [gatherer.ask(number) for number in range(100)] == list(range(100))


def test_a_failing_computation_fails_its_callers_and_no_other() -> None:
    def compute(queries: list[int]) -> Sequence[int]:
        return [10 // query for query in queries]

    gatherer: RequestBatcher[int, int] = RequestBatcher(compute)
    with pytest.raises(ZeroDivisionError):
        gatherer.ask(0)
    assert gatherer.ask(5) == 2


def test_many_threads_get_their_own_answers() -> None:
    vectors = random_vectors(6000, 5)
    index = index_of(vectors)
    gatherer: RequestBatcher[Query, Top] = RequestBatcher(index.top_n, limit=3)
    queries = [Query(vector, 4) for vector in random_vectors(24, 5, seed=10)]
    answers: dict[int, Top] = {}

    def ask(at: int) -> None:
        answers[at] = gatherer.ask(queries[at])

    threads = [threading.Thread(target=ask, args=(at,)) for at in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(answers) == 24
    for at, query in enumerate(queries):
        assert_same(answers[at], brute_force(vectors, query))
