"""ALS with approximate recommendations: from the setting to the answer."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pytest

from common.apps.als.payload import encode_update
from common.factors.files import write_factors
from common.replica.updates import stored
from common.store.generations import Manifest, ModelStore
from serving_layer.apps.als import queries
from serving_layer.apps.als.model import Serving
from serving_layer.search import ApproximateIndex
from tests.serving_layer.apps.als.fixture import NAME, from_files, pmml, serve, settings

USERS = [f"u{row}" for row in range(300)]
ITEMS = [f"i{row}" for row in range(6000)]


@pytest.fixture
def model(tmp_path: Path) -> Serving:
    """A model of items and users around common centers, once it answers approximately."""
    random = np.random.default_rng(1)
    centers = random.standard_normal((40, 8), np.float32)
    near = [
        centers[random.integers(0, 40, n)] + 0.2 * random.standard_normal((n, 8), np.float32)
        for n in (len(USERS), len(ITEMS))
    ]
    known = pa.array([[row, row + 1] for row in range(len(USERS))], pa.list_(pa.int32()))
    store = ModelStore(str(tmp_path / "store"))
    into = store.new(1000)
    (into / "model.pmml").write_text(pmml(USERS, ITEMS, 8))
    write_factors(into / "user_factors.safetensors", USERS, near[0], known)
    write_factors(into / "item_factors.safetensors", ITEMS, near[1])
    generation = store.commit(into, Manifest(1000, "als", "model.pmml", {}, "topic", {0: 5}))
    model = Serving(settings(als__top_n__approximate_above_items=5000))
    model.load(stored(generation))
    search = model.view.search
    assert isinstance(search, ApproximateIndex)
    deadline = time.monotonic() + 60
    while not search.stands():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return model


def recommended(model: Serving, user: str, n: int = 10) -> queries.Scored:
    person = queries.together(model.view, [user])
    return queries.recommended(model.view, person, queries.Wanted(n))


def test_answers_are_nearly_the_exact_ones(model: Serving) -> None:
    shares = []
    for user in USERS[:100]:
        person = queries.together(model.view, [user])
        found = {item for item, _ in recommended(model, user)}
        scores = model.view.items.matrix.vectors @ person.vector
        scores[person.known] = -np.inf
        shares.append(len(found.intersection(f"i{row}" for row in np.argsort(-scores)[:10])) / 10)
    assert np.mean(shares) >= 0.95


def test_estimates_of_recommended_items_are_their_scores(model: Serving) -> None:
    rows = recommended(model, "u7")
    assert len(rows) == 10
    estimates = queries.estimates(model.view, "u7", [item for item, _ in rows])
    assert [score for _, score in rows] == estimates
    assert not {"i7", "i8"}.intersection(item for item, _ in rows)


def test_an_update_is_recommended_at_once(model: Serving) -> None:
    vector = model.view.users.get("u3")
    assert vector is not None
    model.apply(encode_update("Y", "new", vector * 100))
    model.apply(encode_update("Y", "i5000", vector * 99))
    assert [item for item, _ in recommended(model, "u3", 2)] == ["new", "i5000"]
    assert "new" in [item for item, _ in queries.similar(model.view, ["i5000"], queries.Wanted())]


def test_a_page_far_down_is_full(model: Serving) -> None:
    assert len(recommended(model, "u3", 5500)) == 5500
    assert len(recommended(model, "u3", 9000)) == 5998


@pytest.fixture
def status(run: Callable[..., Any]) -> Callable[..., int]:
    """Ask a server that takes no request which needs a thread."""

    def ask(path: str, model: Serving, **flags: Any) -> int:
        server = run(serve(model, **flags).app, threads=1, waiting=-1)
        address = f"http://{server.host}:{server.port}"
        return httpx.get(f"{address}{path}", timeout=60).status_code

    return ask


def test_a_first_page_needs_no_thread(model: Serving, status: Callable[..., int]) -> None:
    assert status("/recommend/u7", model) == 200
    assert status("/recommend/%757", model) == 200
    assert status("/recommend/nobody", model) == 404


def test_other_pages_need_one(model: Serving, status: Callable[..., int], tmp_path: Path) -> None:
    assert status("/recommend/u7?howMany=500", model) == 503
    assert status("/recommend/u7", model, als__rescorer_provider_class=NAME) == 503
    assert status("/recommend/A", from_files(tmp_path / "exact")) == 503


def test_who_knows_much_needs_one(model: Serving, status: Callable[..., int]) -> None:
    vector = model.view.users.get("u3")
    assert vector is not None
    model.apply(encode_update("X", "u3", vector, ITEMS[:300]))
    assert status("/recommend/u3", model) == 503
