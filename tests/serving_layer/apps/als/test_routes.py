from __future__ import annotations

import gzip
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from common.apps.als.payload import encode_update
from common.replica.updates import ModelMessage
from serving_layer.apps.als.routes import Serving, console
from tests.serving_layer.apps.als.fixture import (
    ITEMS,
    NAME,
    USERS,
    Loader,
    Served,
    X,
    Y,
    from_files,
    from_updates,
    pmml,
    serve,
    settings,
)


def to_float(value: float | list[float]) -> Any:
    """Equal as far as Oryx's tests on floats ask."""
    return pytest.approx(value, abs=1e-6, rel=0)


def to_double(value: float) -> Any:
    """Equal as far as Oryx's tests on doubles ask."""
    return pytest.approx(value, abs=1e-12, rel=0)


@pytest.fixture(params=[from_files, from_updates], ids=["files", "updates"])
def als(request: pytest.FixtureRequest, tmp_path: Path) -> Served:
    load: Loader = request.param
    return serve(load(tmp_path), als__rescorer_provider_class=NAME)


def test_recommend(als: Served) -> None:
    rows = als.rows("/recommend/U0")
    assert rows == [
        ("I1", to_float(0.4653969)),
        ("I5", to_float(0.3852491)),
        ("I8", to_float(0.1637533)),
        ("I2", to_float(-0.0801478)),
        ("I3", to_float(-0.2214958)),
        ("I6", to_float(-0.3016436)),
    ]


def test_recommend_considers_known_items_when_asked(als: Served) -> None:
    rows = als.rows("/recommend/U4")
    assert len(rows) == 3
    assert rows[0] == ("I2", to_float(0.14134796))
    rows = als.rows("/recommend/U4?considerKnownItems=true")
    assert len(rows) == 9
    assert rows[0] == ("I7", to_float(2.0047457))


@pytest.mark.parametrize(("how_many", "count"), [(10, 2), (2, 2), (1, 1)])
def test_recommend_so_many(als: Served, how_many: int, count: int) -> None:
    assert len(als.rows(f"/recommend/U5?howMany={how_many}")) == count


@pytest.mark.parametrize(
    ("how_many", "skip", "count"), [(2, 1, 2), (3, 1, 2), (1, 1, 1), (3, 3, 0)]
)
def test_recommend_from_an_offset(als: Served, how_many: int, skip: int, count: int) -> None:
    rows = als.rows(f"/recommend/U6?howMany={how_many}&offset={skip}")
    assert len(rows) == count
    assert rows == als.rows("/recommend/U6")[skip : skip + how_many]


@pytest.mark.parametrize("query", ["howMany=-1", "howMany=0", "howMany=100001", "offset=-1"])
@pytest.mark.parametrize(
    "path", ["recommend/U0", "recommendToMany/U0", "recommendToAnonymous/I0", "similarity/I0"]
)
def test_pages_that_cannot_be(als: Served, path: str, query: str) -> None:
    assert als.error(f"/{path}?{query}") == (400, "bad_parameter")


@pytest.mark.parametrize(
    "path",
    [
        "recommend",
        "recommendToMany",
        "recommendToAnonymous",
        "recommendWithContext",
        "recommendWithContext/U0",
        "similarity",
        "similarityToItem/I0",
        "estimate/U0",
        "estimateForAnonymous/I0",
        "because/U0",
        "mostSurprising",
        "knownItems",
        "pref/U0",
    ],
)
def test_a_missing_part_of_a_path_is_not_found(als: Served, path: str) -> None:
    assert als.client.get(f"/{path}").status_code == 404


@pytest.mark.parametrize(
    "path",
    [
        "recommend/U9",
        "recommendToMany/U0/U9",
        "recommendWithContext/foo/",
        "recommendWithContext/foo/I1",
        "similarity/I0/I99",
        "similarityToItem/I99/I0",
        "estimate/Z/I0",
        "estimateForAnonymous/I99/I0",
        "because/U0/I99",
        "because/foo/I0",
        "mostSurprising/foo",
    ],
)
def test_unknown_ids_are_not_found(als: Served, path: str) -> None:
    assert als.error(f"/{path}") == (404, "unknown_id")


def test_recommend_to_many_takes_the_mean_and_all_known_items(als: Served) -> None:
    rows = als.rows("/recommendToMany/U0/U3")
    mean = np.mean([X[0], X[3]], axis=0)
    assert [id for id, _ in rows] == ["I5", "I1", "I2"]
    for id, value in rows:
        assert value == to_float(mean @ np.array(Y[int(id[1:])]))
    assert len(als.rows("/recommendToMany/U0/U3?considerKnownItems=true")) == 9


def test_recommend_to_many_is_recommend_for_one(als: Served) -> None:
    assert als.rows("/recommendToMany/U2") == als.rows("/recommend/U2")


def test_recommend_to_anonymous(als: Served) -> None:
    rows = als.rows("/recommendToAnonymous/I0/I4=2/I0=0.5")
    assert len(rows) == 7
    assert not {"I0", "I4"} & {id for id, _ in rows}
    vector = fold_in([("I0", 1.0), ("I4", 2.0), ("I0", 0.5)])
    for id, value in rows:
        assert value == to_float(vector @ np.array(Y[int(id[1:])]))
    assert rows == sorted(rows, key=lambda row: -row[1])


def fold_in(items: list[tuple[str, float]], vector: np.ndarray | None = None) -> np.ndarray:
    """Oryx's rule for positive strengths, written out."""
    y = np.array(Y, np.float32).astype(np.float64)
    for item, value in items:
        estimate = 0.0 if vector is None else vector @ y[int(item[1:])]
        start = 0.5 if vector is None else estimate
        target = start + value / (1 + value) * (1 - max(0.0, start)) if start < 1 else estimate
        step = np.linalg.solve(y.T @ y, y[int(item[1:])] * (target - estimate))
        vector = step if vector is None else vector + step
    assert vector is not None
    return vector


def test_an_unknown_item_of_an_anonymous_user_changes_nothing(als: Served) -> None:
    rows = als.rows("/recommendToAnonymous/I0/I4")
    assert als.rows("/recommendToAnonymous/I0/nothing/I4") == rows
    assert als.error("/recommendToAnonymous/nothing") == (400, "unknown_items")
    assert als.error("/recommendToAnonymous/nothing/more") == (400, "unknown_items")


def test_without_a_solver_nothing_can_be_folded_in(tmp_path: Path) -> None:
    model = Serving(settings())
    model.load(ModelMessage(None, pmml(["U0"], ["I0"])))
    model.apply(encode_update("Y", "I0", np.array(Y[0])))
    model.apply(encode_update("X", "U0", np.array(X[0])))
    als = serve(model)
    assert als.error("/recommendToAnonymous/I0") == (503, "no_solver")
    assert als.error("/recommendWithContext/U0/I0") == (503, "no_solver")
    assert als.error("/estimateForAnonymous/I0/I0") == (503, "no_solver")
    assert als.error("/estimateForAnonymous/I99/I0") == (404, "unknown_id")
    model.apply(encode_update("Y", "I1", np.array(Y[6])))
    assert len(als.rows("/recommendToAnonymous/I0")) == 1


def test_recommend_with_context(als: Served) -> None:
    assert als.rows("/recommendWithContext/U0/") == als.rows("/recommend/U0")
    rows = als.rows("/recommendWithContext/U0/I1/I2=3")
    assert [id for id, _ in rows if id in ("I0", "I1", "I2", "I4", "I7")] == []
    assert len(rows) == 4
    vector = fold_in([("I1", 1.0), ("I2", 3.0)], np.array(X[0], np.float32).astype(np.float64))
    for id, value in rows:
        assert value == to_float(vector @ np.array(Y[int(id[1:])]))
    considered = als.rows("/recommendWithContext/U0/I1/I2=3?considerKnownItems=true")
    assert len(considered) == 7
    assert not {"I1", "I2"} & {id for id, _ in considered}


def test_similarity(als: Served) -> None:
    rows = als.rows("/similarity/I0/I4/I6")
    assert [id for id, _ in rows] == ["I7", "I5", "I1", "I8", "I2", "I3"]
    assert rows[2][1] == to_float(0.9125432970065859)
    assert len(als.rows("/similarity/I0?howMany=3&offset=6")) == 2


def test_similarity_to_item(als: Served) -> None:
    values = als.values("/similarityToItem/I0/I1/I2/nothing")
    assert values == to_float([0.9042603, -0.26486862, 0])


def test_estimate(als: Served) -> None:
    values = als.values("/estimate/U0/I0/I1/I2/I10")
    assert values == to_float([0.38761318, 0.4653969, -0.0801478, 0])


def test_estimate_for_anonymous(als: Served) -> None:
    (value,) = als.values("/estimateForAnonymous/I5/I0/I4=2")
    vector = fold_in([("I0", 1.0), ("I4", 2.0)])
    assert value == to_float(vector @ np.array(Y[5]))
    assert als.values("/estimateForAnonymous/I5/nothing/I0/I4=2") == [value]
    assert als.values("/estimateForAnonymous/I5/nothing") == [0]


def test_because(als: Served) -> None:
    rows = als.rows("/because/U0/I1")
    assert [id for id, _ in rows] == ["I4", "I7", "I0"]
    y = np.array(Y)
    for id, value in rows:
        other = y[int(id[1:])]
        cosine = other @ y[1] / np.linalg.norm(other) / np.linalg.norm(y[1])
        assert value == to_float(cosine)
    assert als.rows("/because/U0/I1?howMany=1&offset=1") == rows[1:2]
    assert als.error("/because/U0/I1?offset=-1") == (400, "bad_parameter")


def test_most_surprising(als: Served) -> None:
    rows = als.rows("/mostSurprising/U0")
    assert [id for id, _ in rows][:1] == ["I0"]
    assert rows[0][1] == to_double(0.38761317555864894)
    assert [value for _, value in rows] == sorted(value for _, value in rows)
    assert len(als.rows("/mostSurprising/U4")) == 6
    assert als.rows("/mostSurprising/U4?offset=3") == als.rows("/mostSurprising/U4")[3:]


def test_a_user_without_known_items_has_empty_lists(als: Served) -> None:
    als.model.apply(encode_update("X", "lonely", np.array([1.0, 1.0])))
    assert als.rows("/because/lonely/I0") == []
    assert als.rows("/mostSurprising/lonely") == []
    assert als.ids("/knownItems/lonely") == []


def test_most_active_users(als: Served) -> None:
    rows = als.rows("/mostActiveUsers")
    assert [count for _, count in rows] == [7, 6, 6, 5, 5, 3, 3]
    assert [id for id, _ in rows] == ["U5", "U4", "U6", "U1", "U2", "U0", "U3"]
    rows = als.rows("/mostActiveUsers?rescorerParams=even")
    assert [count for _, count in rows] == [7, 5, 3]


def test_most_popular_items(als: Served) -> None:
    rows = als.rows("/mostPopularItems")
    assert rows[:5] == [("I7", 6), ("I8", 6), ("I5", 5), ("I4", 4), ("I6", 4)]
    assert rows[5:] == [("I1", 3), ("I2", 3), ("I0", 2), ("I3", 2)]
    rescored = als.rows("/mostPopularItems?rescorerParams=even&howMany=2&offset=1")
    assert rescored == [("I5", 5), ("I1", 3)]


def test_popular_representative_items(als: Served) -> None:
    y = np.array(Y)
    assert als.ids("/popularRepresentativeItems") == [f"I{row}" for row in y.argmax(axis=0)]


def test_known_items(als: Served) -> None:
    assert als.ids("/knownItems/U1") == ["I1", "I4", "I5", "I7", "I8"]
    assert als.ids("/knownItems/X1") == []


def test_all_ids(als: Served) -> None:
    assert sorted(als.ids("/item/allIDs")) == ITEMS
    assert sorted(als.ids("/user/allIDs")) == USERS
    assert als.client.get("/user/allIDs").text.count("\n") == 7


@pytest.mark.parametrize(
    ("path", "first"),
    [
        ("/recommend/U0", 2 * 0.4653969),
        ("/recommendToMany/U0", 2 * 0.4653969),
        ("/recommendWithContext/U0/", 2 * 0.4653969),
        ("/recommendToAnonymous/I0", None),
        ("/similarity/I0/I4/I6", None),
    ],
)
def test_rescorers_filter_and_change_scores(als: Served, path: str, first: float | None) -> None:
    plain = als.rows(path)
    rescored = als.rows(f"{path}?rescorerParams=even")
    assert rescored == [(id, to_double(2 * value)) for id, value in plain if int(id[-1]) % 2]
    assert len(rescored) >= 3
    if first is not None:
        assert rescored[0] == ("I1", to_float(first))


def test_gzip_and_deflate_decode_to_the_plain_body(als: Served) -> None:
    for row in range(60):
        als.model.apply(encode_update("Y", f"more-{row}", np.array([0.1, 0.2])))
    plain = als.client.get("/item/allIDs").data
    assert plain.count(b"\n") == 69
    reply = als.client.get("/item/allIDs", headers={"Accept-Encoding": "gzip"})
    assert (reply.headers["Content-Encoding"], gzip.decompress(reply.data)) == ("gzip", plain)
    reply = als.client.get("/item/allIDs", headers={"Accept-Encoding": "deflate"})
    assert (reply.headers["Content-Encoding"], zlib.decompress(reply.data)) == ("deflate", plain)


def test_ids_may_hold_any_character(als: Served) -> None:
    als.model.apply(encode_update("X", "a/b,=c", np.array([1.0, 1.0]), ["I0"]))
    reply = als.client.get("/knownItems/a%2Fb,%3Dc")
    assert (reply.status_code, reply.text) == (200, "I0\n")


def test_a_model_that_is_not_loaded_enough_answers_503_and_says_why() -> None:
    model = Serving(settings())
    model.load(ModelMessage(None, pmml()))
    als = serve(model)
    reply = als.client.get("/recommend/U0")
    assert (reply.status_code, reply.get_json()["error"]["code"]) == (503, "model_not_ready")
    assert "0% of the model" in reply.text
    assert als.client.get("/ready").status_code == 503


def test_ready(als: Served) -> None:
    assert als.client.get("/ready").status_code == 200
    assert als.client.head("/ready").status_code == 200


def test_every_row_of_the_console_is_a_route(als: Served) -> None:
    rules = {rule.rule.split("<")[0] for rule in als.app.url_map.iter_rules()}
    forms = console()
    assert len(forms) == 16
    for form in forms:
        assert form.path.split("{")[0] in rules
    page = als.client.get("/").text
    assert "recommendToAnonymous" in page
