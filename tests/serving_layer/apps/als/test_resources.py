"""The JSON resources of ALS against the small model whose answers are known."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from flask.testing import FlaskClient

from serving_layer.search import ApproximateIndex
from tests.serving_layer.apps.als import fixture as als_fixture
from tests.serving_layer.apps.als.fixture import Served, from_files

NOW = 2_000_000_000_000


@pytest.fixture
def served(tmp_path: Path) -> Served:
    return als_fixture.serve(from_files(tmp_path))


@pytest.fixture
def client(served: Served) -> FlaskClient:
    return served.client


def items(client: FlaskClient, path: str) -> list[str]:
    reply = client.get(path)
    assert reply.status_code == 200, reply.text
    return [item["id"] for item in reply.json["items"]]


def test_recommendations_are_those_of_the_first_form(served: Served) -> None:
    rows = served.rows("/recommend/U0")
    reply = served.client.get("/v1/users/U0/recommendations").json
    assert [(item["id"], item["score"]) for item in reply["items"]] == rows
    assert len(rows) == 6
    assert reply["page"] == {"how_many": 6, "offset": 0, "next_offset": None}


def test_pages_follow_one_another_and_end(client: FlaskClient) -> None:
    whole = items(client, "/v1/users/U0/recommendations")
    found: list[str] = []
    offset: int | None = 0
    while offset is not None:
        page = client.get(f"/v1/users/U0/recommendations?how_many=4&offset={offset}").json
        found += [item["id"] for item in page["items"]]
        offset = page["page"]["next_offset"]
    assert found == whole
    assert len(found) == 6


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", ["I1", "I5", "I8", "I2", "I3", "I6"]),
        ("exclude=I1&exclude=I8", ["I5", "I2", "I3", "I6"]),
        ("include=I8&include=I1&include=I99", ["I1", "I8"]),
        ("include=I0&include=I1", ["I1"]),
        ("include=I0&include=I1&consider_known_items=true", ["I1", "I0"]),
        ("include=I1&include=I8&exclude=I1", ["I8"]),
        ("exclude=I1&how_many=2", ["I5", "I8"]),
    ],
)
def test_recommendations_are_filtered(client: FlaskClient, query: str, expected: list[str]) -> None:
    assert items(client, f"/v1/users/U0/recommendations?{query}") == expected


def test_a_batch_answers_each_user_and_reports_the_unknown(served: Served) -> None:
    reply = served.client.post(
        "/v1/recommend", json={"users": ["U0", "nobody", "U4", "U0"], "how_many": 2}
    )
    assert reply.status_code == 200
    first, unknown, other, again = reply.json["results"]
    assert [(row["id"], row["score"]) for row in first["items"]] == served.rows(
        "/recommend/U0?howMany=2"
    )
    assert [(row["id"], row["score"]) for row in other["items"]] == served.rows(
        "/recommend/U4?howMany=2"
    )
    assert again == first
    assert unknown["error"]["code"] == "unknown_id"
    assert unknown["items"] == []
    assert reply.json["unknown_users"] == 1


@pytest.mark.parametrize("filters", [{}, {"exclude": ["I1"]}, {"include": ["I5", "I8", "I2"]}])
@pytest.mark.parametrize("known", [False, True])
def test_a_batch_agrees_with_single_requests(
    client: FlaskClient, filters: dict[str, list[str]], known: bool
) -> None:
    asked = {"users": als_fixture.USERS, "how_many": 3, "consider_known_items": known, **filters}
    results = client.post("/v1/recommend", json=asked).json["results"]
    assert len(results) == 7
    query = "&".join(f"{name}={id}" for name, ids in filters.items() for id in ids)
    for result in results:
        path = f"/v1/users/{result['user']}/recommendations?how_many=3&{query}"
        alone = client.get(f"{path}&consider_known_items={str(known).lower()}").json["items"]
        assert [item["id"] for item in result["items"]] == [item["id"] for item in alone]
        for one, other in zip(result["items"], alone, strict=True):
            assert one["score"] == pytest.approx(other["score"], abs=1e-6)


def test_a_batch_is_searched_as_single_requests_are(tmp_path: Path) -> None:
    served = als_fixture.serve(from_files(tmp_path, als__top_n__approximate_above_items=1))
    assert isinstance(served.model.view.search, ApproximateIndex)
    results = served.client.post("/v1/recommend", json={"users": ["U0", "U4"]}).json["results"]
    for result in results:
        rows = served.rows(f"/recommend/{result['user']}")
        assert [item["id"] for item in result["items"]] == [id for id, _ in rows]
        assert len(rows) >= 3


def test_rescorers_apply_to_batches_and_single_requests(tmp_path: Path) -> None:
    model = from_files(tmp_path)
    client = als_fixture.serve(model, als__rescorer_provider_class=als_fixture.NAME).client
    plain = client.get("/v1/users/U0/recommendations").json["items"]
    odd = client.get("/v1/users/U0/recommendations?rescorer_params=x").json["items"]
    assert [item["id"] for item in odd] == ["I1", "I5", "I3"]
    assert odd[0]["score"] == pytest.approx(2 * plain[0]["score"])
    asked = {"users": ["U0"], "rescorer_params": ["x"], "include": ["I1", "I2", "I3"]}
    result = client.post("/v1/recommend", json=asked).json["results"][0]
    assert [item["id"] for item in result["items"]] == ["I1", "I3"]


@pytest.mark.parametrize(
    ("asked", "path"),
    [
        (
            {"items": [{"id": "I0", "strength": 2.5}, {"id": "I4"}]},
            "/recommendToAnonymous/I0=2.5/I4",
        ),
        ({"items": [{"id": "I1"}], "user": "U0"}, "/recommendWithContext/U0/I1"),
        (
            {"items": [{"id": "I1"}, {"id": "Z"}], "user": "U0", "consider_known_items": True},
            "/recommendWithContext/U0/I1/Z?considerKnownItems=true",
        ),
    ],
)
def test_recommendations_after_some_items(served: Served, asked: Any, path: str) -> None:
    rows = served.rows(path)
    reply = served.client.post("/v1/recommend-after", json=asked).json
    assert [(item["id"], item["score"]) for item in reply["items"]] == rows
    assert len(rows) > 3
    filtered = served.client.post("/v1/recommend-after", json={**asked, "exclude": [rows[0][0]]})
    assert [item["id"] for item in filtered.json["items"]] == [id for id, _ in rows[1:]]


def test_unknown_items_alone_and_unknown_users_are_errors(client: FlaskClient) -> None:
    for asked, status, code in (
        ({"items": [{"id": "Z"}]}, 400, "unknown_items"),
        ({"items": [{"id": "I0"}], "user": "nobody"}, 404, "unknown_id"),
        ({"items": []}, 400, "schema"),
        ({"items": [{"id": "I0", "strength": "2"}]}, 400, "schema"),
    ):
        reply = client.post("/v1/recommend-after", json=asked)
        assert (reply.status_code, reply.json["code"]) == (status, code)


def test_similar_items_and_reasons(served: Served) -> None:
    client = served.client
    rows = served.rows("/similarity/I0")
    reply = client.get("/v1/items/I0/similar").json
    assert [(item["id"], item["score"]) for item in reply["items"]] == rows
    assert len(rows) == 8
    assert items(client, f"/v1/items/I0/similar?exclude={rows[0][0]}")[0] == rows[1][0]
    reply = client.get("/v1/users/U0/items/I4/reasons").json
    assert [(item["id"], item["score"]) for item in reply["items"]] == served.rows("/because/U0/I4")


def test_estimates_tell_an_unknown_item_from_a_zero(client: FlaskClient) -> None:
    reply = client.get("/v1/users/U0/estimates?items=I0&items=I99&items=I1").json
    assert [row["id"] for row in reply["estimates"]] == ["I0", "I99", "I1"]
    scores = [row["score"] for row in reply["estimates"]]
    assert scores[0] == pytest.approx(0.38761318)
    assert scores[1] is None
    assert scores[2] == pytest.approx(0.4653969)


def test_known_and_popular_items(served: Served) -> None:
    assert served.client.get("/v1/users/U0/known-items").json == {"items": ["I0", "I4", "I7"]}
    reply = served.client.get("/v1/popular-items?how_many=3").json
    rows = [(item["id"], item["count"]) for item in reply["items"]]
    assert rows == served.rows("/mostPopularItems?howMany=3")
    assert reply["page"]["next_offset"] == 3


@pytest.mark.parametrize(
    "path",
    [
        "/v1/users/nobody/recommendations",
        "/v1/users/nobody/known-items",
        "/v1/users/nobody/estimates?items=I0",
        "/v1/users/nobody/items/I0/reasons",
        "/v1/users/U0/items/nothing/reasons",
        "/v1/items/nothing/similar",
    ],
)
def test_unknown_ids_are_problems(client: FlaskClient, path: str) -> None:
    reply = client.get(path, headers={"X-Request-Id": "r1"})
    assert reply.status_code == 404
    assert reply.mimetype == "application/problem+json"
    name = "nothing" if "nothing" in path else "nobody"
    kind = "item" if name == "nothing" else "user"
    assert reply.json == {
        "type": "urn:problem-type:gemsbok:unknown_id",
        "title": "Not Found",
        "status": 404,
        "detail": f"unknown {kind} '{name}'",
        "instance": path.partition("?")[0],
        "code": "unknown_id",
        "request_id": "r1",
    }


@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ("how_many=0", "how_many"),
        ("how_many=ten", "how_many"),
        ("how_many=1&how_many=2", "how_many"),
        ("offset=-1", "offset"),
        ("howMany=3", "howMany"),
        ("exclude=", "exclude"),
        ("how_many=10&offset=99999", None),
    ],
)
def test_bad_parameters_are_named(client: FlaskClient, query: str, parameter: str | None) -> None:
    reply = client.get(f"/v1/users/U0/recommendations?{query}")
    assert reply.status_code == 400
    assert reply.json["code"] == "bad_parameter"
    assert [fault.get("parameter") for fault in reply.json["errors"]] == [parameter]


def test_no_parameter_is_ignored(served: Served) -> None:
    asked = {"users": ["U0"]}
    for method, path, body in (
        ("GET", "/v1/users/U0/known-items?offset=3", None),
        ("POST", "/v1/recommend?how_many=3", asked),
        ("POST", "/v1/events?dry_run=true", {"events": [event("a")]}),
    ):
        reply = served.client.open(path, method=method, json=body)
        assert (reply.status_code, reply.json["code"]) == (400, "bad_parameter")
    assert served.sent() == []


@pytest.mark.parametrize(
    ("body", "pointers"),
    [
        ({}, ["#/users"]),
        ({"users": []}, ["#/users"]),
        ({"users": ["U0", 7, ""]}, ["#/users/1", "#/users/2"]),
        ({"users": ["U0"], "how_many": "3"}, ["#/how_many"]),
        ({"users": ["U0"], "how/many": 3}, ["#/how~1many"]),
        ({"users": ["U0"] * 1000, "how_many": 1001}, ["#"]),
        ([], ["#"]),
    ],
)
def test_bad_bodies_are_pointed_at(client: FlaskClient, body: Any, pointers: list[str]) -> None:
    reply = client.post("/v1/recommend", json=body)
    assert reply.status_code == 400
    assert reply.json["code"] == "schema"
    assert [fault["pointer"] for fault in reply.json["errors"]] == pointers


@pytest.mark.parametrize(
    ("path", "data", "content_type", "status", "code"),
    [
        ("/v1/recommend", b'{"users": [', "application/json", 400, "bad_json"),
        ("/v1/recommend", b'{"users": ["\xff"]}', "application/json", 400, "bad_json"),
        ("/v1/recommend", b"", "application/json", 400, "bad_json"),
        ("/v1/recommend", b"[" * 100_000, "application/json", 400, "bad_json"),
        ("/v1/recommend", b"U0", "text/csv", 415, "unsupported_type"),
        ("/v1/events", b"U0,I0", "text/csv", 415, "unsupported_type"),
        ("/v1/nothing", b"", "application/json", 404, "not_found"),
        ("/v1/popular-items", b"", "application/json", 405, "method_not_allowed"),
    ],
)
def test_other_faults_are_problems_too(
    client: FlaskClient, path: str, data: bytes, content_type: str, status: int, code: str
) -> None:
    reply = client.post(path, data=data, content_type=content_type)
    assert reply.mimetype == "application/problem+json"
    assert (reply.status_code, reply.json["code"]) == (status, code)
    assert reply.json["status"] == status


def test_a_path_that_cannot_be_read_is_a_problem(client: FlaskClient) -> None:
    reply = client.get("/", environ_overrides={"REQUEST_URI": "/v1/users/%ff/known-items"})
    assert reply.mimetype == "application/problem+json"
    assert reply.json["code"] == "bad_encoding"
    assert reply.json["instance"] == "/v1/users/%ff/known-items"


def test_only_json_is_sent(client: FlaskClient) -> None:
    path = "/v1/popular-items"
    assert client.get(path, headers={"Accept": "text/csv"}).status_code == 406
    for accept in ("*/*", "application/*", "application/json", "text/html, */*;q=0.1"):
        assert client.get(path, headers={"Accept": accept}).status_code == 200
    assert client.head(path).status_code == 200


def event(user: str, **more: Any) -> dict[str, Any]:
    return {"user": user, "item": "I/1", "timestamp": 5, **more}


def test_events_are_written_with_their_defaults(served: Served) -> None:
    events = [event("a,b"), event("b", strength=2.5), event("c", strength=None)]
    reply = served.client.post("/v1/events", json={"events": events})
    assert (reply.status_code, reply.json) == (200, {"accepted": 3})
    lines = [value for _, value in served.sent()]
    assert lines == ['"a,b",I/1,1.0,5', "b,I/1,2.5,5", "c,I/1,,5"]


def test_events_come_as_lines_too_and_compressed(served: Served) -> None:
    data = "\n\n".join(json.dumps(event(user)) for user in ("a", "\U0001f98c"))
    reply = served.client.post(
        "/v1/events",
        data=gzip.compress(data.encode()),
        content_type="application/x-ndjson",
        headers={"Content-Encoding": "gzip"},
    )
    assert reply.json == {"accepted": 2}
    assert [value for _, value in served.sent()] == ["a,I/1,1.0,5", "\U0001f98c,I/1,1.0,5"]


def test_one_bad_event_and_nothing_is_written(served: Served) -> None:
    far = {"timestamp": 10**14}
    cases: list[tuple[list[dict[str, Any]], str, str]] = [
        ([event("a"), {"user": "b"}], "schema", "#/events/1/item"),
        ([event("a"), event("b", strength="x")], "schema", "#/events/1/strength"),
        ([event("a"), event("b"), event("c", **far)], "future_timestamp", "#/events/2"),
    ]
    for events, code, at in cases:
        reply = served.client.post("/v1/events", json={"events": events})
        assert (reply.status_code, reply.json["code"]) == (400, code)
        assert reply.json["errors"][0]["pointer"] == at
        lines = "\n" + "\n".join(map(json.dumps, events))
        kind = "application/x-ndjson"
        reply = served.client.post("/v1/events", data=lines, content_type=kind)
        assert (reply.status_code, reply.json["code"]) == (400, code)
        assert reply.json["line"] == len(events) + 1
    assert served.client.post("/v1/events", data="\n", content_type=kind).status_code == 400
    assert served.sent() == []


def test_a_flood_of_faults_or_values_is_cut_short(client: FlaskClient) -> None:
    many = {"events": [{"user": 1.5, "item": None, "more": 3}] * 1000}
    reply = client.post("/v1/events", json=many)
    assert (reply.status_code, len(reply.json["errors"])) == (400, 3)
    data = b'{"events": [' + b"1," * 2_000_000 + b"1]}"
    reply = client.post("/v1/events", data=data, content_type="application/json")
    assert (reply.status_code, reply.json["code"]) == (413, "body_too_large")


def test_a_long_event_is_refused(served: Served) -> None:
    reply = served.client.post("/v1/events", json={"events": [event("a" * 2_000_000)]})
    assert (reply.status_code, reply.json["code"]) == (413, "line_too_long")
    assert reply.json["errors"][0]["pointer"] == "#/events/0"
    assert served.sent() == []


def test_read_only_refuses_events_and_answers_batches(tmp_path: Path) -> None:
    client = als_fixture.serve(from_files(tmp_path), serving__api__read_only=True).client
    reply = client.post("/v1/events", data=b"\0")
    assert (reply.status_code, reply.json["code"]) == (403, "read_only")
    assert client.post("/v1/recommend", json={"users": ["U0"]}).status_code == 200


def test_without_a_model_there_is_a_problem(served: Served) -> None:
    served.app.extensions["gemsbok"].current.model = None
    reply = served.client.get("/v1/popular-items")
    assert reply.status_code == 503
    assert reply.headers["Retry-After"] == "5"
    assert reply.json["code"] == "model_not_ready"


def test_ids_of_any_unicode_are_told_apart(served: Served, update: Callable[[str], None]) -> None:
    for id in ("a/b", "a=b", "a%b", "a b", "\u00e9", "e\u0301", "\U0001f98c", "\u05d0", "a%2Fb"):
        update(id)
        reply = served.client.get(
            "/", environ_overrides={"REQUEST_URI": f"/v1/items/{quote(id, safe='')}/similar"}
        )
        assert reply.status_code == 200, reply.text
        reply = served.client.post("/v1/recommend", json={"users": ["U0"], "include": [id]})
        assert [item["id"] for item in reply.json["results"][0]["items"]] == [id]


@pytest.fixture
def update(served: Served) -> Callable[[str], None]:
    def apply(item: str) -> None:
        served.model.apply(json.dumps(["Y", item, [0.5, 0.5]]))

    return apply
