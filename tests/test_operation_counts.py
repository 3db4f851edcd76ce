"""How much work things are, counted: calls, rows, factorisations.  Time would not be stable.

A bound is what was counted when it was written and a quarter more, as releases of the libraries
differ.  Whoever needs a higher one should know why.
"""

from __future__ import annotations

import functools
import sys
from collections import Counter
from collections.abc import Callable
from types import FrameType
from typing import Any, TypeVar

import numpy as np
import pytest
from werkzeug.test import create_environ

from common.apps.als import Lines
from common.apps.als.payload import encode_update
from common.apps.als.pmml import AlsModel, write_als_pmml
from common.factors.matrix import FactorMatrix
from common.factors.solver import Solver
from common.replica.updates import ModelMessage
from common.runtime.configuration import load
from serving_layer.apps.als.routes import Serving
from serving_layer.apps.wordcount import Serving as WordCount
from serving_layer.run.app import create_app
from serving_layer.search import ExactIndex, LiveFactors, Query, dots
from speed_layer.api import Events
from speed_layer.apps.als.model import Speed
from tests.micro_batches import micro_batch
from tests.serving_layer.held import Held

N_FACTORS = 10
T = TypeVar("T")


def calls(work: Callable[[], object]) -> int:
    """Count the functions, of Python and of C, that some work calls on this thread."""
    found: Counter[str] = Counter()

    def count(frame: FrameType, event: str, argument: Any) -> None:
        found[event] += 1

    work()  # What is made at the first time only does not count.
    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(None)
    return found["call"] + found["c_call"]


def arguments(function: Any, work: Callable[[], T]) -> tuple[list[dict[str, Any]], T]:
    """Return what a function of Python is called with while this thread does some work."""
    code = function.__code__
    found: list[dict[str, Any]] = []

    def note(frame: FrameType, event: str, argument: Any) -> None:
        if event == "call" and frame.f_code is code:
            found.append(dict(frame.f_locals))

    sys.setprofile(note)
    try:
        result = work()
    finally:
        sys.setprofile(None)
    return found, result


def model() -> ModelMessage:
    ids = [f"i{n}" for n in range(100)]
    users = [f"u{n}" for n in range(50)]
    pmml = AlsModel(
        features=N_FACTORS, implicit=True, regularization=0.01, user_ids=users, item_ids=ids
    )
    return ModelMessage(None, write_als_pmml(pmml).decode(), None)


def updates() -> list[str]:
    vectors = np.random.default_rng(1).standard_normal((150, N_FACTORS))
    items = [encode_update("Y", f"i{n}", vectors[n]) for n in range(100)]
    return items + [encode_update("X", f"u{n}", vectors[100 + n]) for n in range(50)]


def get(path: str, served: Any, app: str) -> Callable[[], object]:
    settings = load(flags={"app": app, "serving.api.read_only": True}, environment={})
    application = create_app(settings, Held(served(settings)), None)

    def start_response(status: str, headers: object, exc_info: object = None) -> Any:
        assert status == "200 OK"

    def request() -> None:
        environ = {**create_environ(path), "REQUEST_URI": path}
        assert b"".join(application.wsgi_app(environ, start_response))

    return request


def counted_words(settings: Any) -> WordCount:
    found = WordCount(settings)
    found.counts["a"] = 1
    return found


def recommender(settings: Any) -> Serving:
    found = Serving(settings)
    found.load(model())
    for update in updates():
        found.apply(update)
    return found


def test_a_small_request() -> None:
    assert 0 < calls(get("/distinct/a", counted_words, "wordcount")) < 600


def test_a_recommendation() -> None:
    assert 0 < calls(get("/recommend/u1", recommender, "als")) < 1165


def test_updates_in_the_serving_layer() -> None:
    served = recommender(load(environment={}))
    hundred = updates()[:100]
    assert 0 < calls(lambda: served.apply_many(hundred)) < 100 * 20
    assert 0 < calls(lambda: served.apply(hundred[0])) < 190


@pytest.mark.parametrize("n_rows", [20_000, 200_000])
def test_rows_that_an_exact_scan_scores_again(n_rows: int) -> None:
    vectors = np.random.default_rng(2).standard_normal((n_rows, N_FACTORS), np.float32)
    index = ExactIndex(
        LiveFactors(FactorMatrix(N_FACTORS, [f"i{n}" for n in range(n_rows)], vectors))
    )
    queries = [Query(query, 10) for query in vectors[:32]]
    calls_of_dots, found = arguments(dots, lambda: index.top_n(queries))
    scored = [len(given["vectors"]) for given in calls_of_dots]
    assert [len(top.rows) for top in found] == [10] * 32
    # Ten groups of at most 128 rows hold the ten best.
    assert 32 * 10 <= sum(scored) <= 32 * 11 * 128


def test_factorisations_of_a_micro_batch() -> None:
    for n_events in (10, 1000):
        speed = Speed(load(environment={}))
        speed.load(model())
        for update in updates():
            speed.apply(update)
        work = functools.partial(speed.build_updates, events(n_events))
        made, sent = arguments(Solver.of, work)
        assert len(sent) > 0
        # One for the users and one for the items, however many events there are.
        assert [given["matrix"].shape for given in made] == [(N_FACTORS, N_FACTORS)] * 2


def events(count: int) -> Events:
    random = np.random.default_rng(3)
    lines = [f"u{random.integers(50)},i{random.integers(100)},1" for _ in range(count)]
    return micro_batch(Lines(load(environment={})), lines)
