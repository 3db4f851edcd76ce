"""Parameters, replies, errors and the request's one model, as a client sees them."""

from __future__ import annotations

import json
import threading
import zlib
from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.routing import Map

from serving_layer.http.errors import ApiError
from serving_layer.http.paths import Items, Segment, Segments, canonical

JSON = {"Accept": "application/json"}


def code(reply: Any) -> str:
    return str(reply.json["error"]["code"])


# -- replies ---------------------------------------------------------------------------------


def test_rows_are_csv_by_default_with_the_shortest_numbers(client: FlaskClient) -> None:
    reply = client.get("/numbers")
    assert reply.mimetype == "text/csv"
    assert reply.text == '"a,b",0.4653969\nc,0.1\nd,3\n'


def test_json_holds_what_csv_holds(client: FlaskClient) -> None:
    assert client.get("/numbers", headers=JSON).json == [
        {"id": "a,b", "value": 0.4653969},
        {"id": "c", "value": 0.1},
        {"id": "d", "value": 3},
    ]
    assert client.get("/counts", headers=JSON).json == [{"id": "a", "count": 3}]
    assert client.get("/echoes/a/b%2Fc", headers=JSON).json == ["a", "b/c"]
    assert client.get("/echo/a", headers=JSON).json == "a"
    assert client.get("/words").json == {"a": 1, "b": 2}
    assert client.get("/words", headers={"Accept": "text/csv"}).text == "a,1\nb,2\n"


@pytest.mark.parametrize(
    ("accept", "status", "mimetype"),
    [
        ("*/*", 200, "text/csv"),
        ("text/plain", 200, "text/plain"),
        ("text/csv;q=0.1, application/json", 200, "application/json"),
        ("text/html,application/xhtml+xml,*/*;q=0.8", 200, "text/plain"),
        ("image/png", 406, "application/json"),
        ("text/csv;q=0", 406, "text/plain"),
    ],
)
def test_accept_chooses_the_form(
    client: FlaskClient, accept: str, status: int, mimetype: str
) -> None:
    reply = client.get("/numbers", headers={"Accept": accept})
    assert reply.status_code == status
    if status == 200:
        assert reply.mimetype == mimetype


def test_compressed_replies_decode_to_the_plain_body(client: FlaskClient) -> None:
    plain = client.get("/many/1000")
    assert "Content-Encoding" not in plain.headers
    for name, window in (("gzip", 31), ("deflate", 15)):
        packed = client.get("/many/1000", headers={"Accept-Encoding": name})
        assert packed.headers["Content-Encoding"] == name
        assert packed.headers["Vary"] == "Accept-Encoding"
        assert len(packed.data) < len(plain.data)
        assert zlib.decompress(packed.data, window) == plain.data
    refused = client.get("/many/1000", headers={"Accept-Encoding": "gzip;q=0"})
    assert refused.data == plain.data


# -- parameters ------------------------------------------------------------------------------


def test_parameters_have_their_defaults(client: FlaskClient) -> None:
    assert client.get("/page", headers=JSON).json == [10, 0, False]


def test_parameters_are_read(client: FlaskClient) -> None:
    query = "howMany=5&offset=99995&considerKnownItems=TRUE&rescorerParams=a,b&rescorerParams="
    assert client.get(f"/page?{query}", headers=JSON).json == [5, 99995, True, "a,b", ""]


@pytest.mark.parametrize(
    "query",
    [
        "howMany=0",
        "howMany=-1",
        "howMany=x",
        "howMany=",
        "howMany=1.5",
        "howMany=%D9%A3",
        "howMany=1000000000",
        "howMany=" + "9" * 5000,
        "howMany=100001",
        "offset=-1",
        "offset=100000",
        "offset=99999999999999999999",
        "howMany=1&howMany=2",
        "considerKnownItems=yes",
        "howmany=5",
        "foo=",
    ],
)
def test_bad_parameters_are_refused(client: FlaskClient, query: str) -> None:
    reply = client.get(f"/page?{query}")
    assert (reply.status_code, code(reply)) == (400, "bad_parameter")


def test_a_query_that_is_not_utf_8_is_refused(client: FlaskClient) -> None:
    reply = client.get("/page?rescorerParams=%ff")
    assert (reply.status_code, code(reply)) == (400, "bad_encoding")


# -- paths -----------------------------------------------------------------------------------


@given(st.text(min_size=1).filter(lambda text: canonical_or_none(text) is not None))
def test_any_id_survives_its_way_through_a_path(text: str) -> None:
    sent = Segment(Map()).to_url(text)
    assert Segment(Map()).to_python(canonical(f"/{sent}")[1:]) == text


def canonical_or_none(text: str) -> str | None:
    """None for what no path may hold: control characters and lone surrogates."""
    try:
        return canonical(f"/{Segment(Map()).to_url(text)}")
    except (ApiError, UnicodeEncodeError):
        return None


@given(st.lists(st.text("a/%=é,", min_size=1), min_size=1))
def test_segments_stay_apart(texts: list[str]) -> None:
    converter = Segments(Map())
    assert converter.to_python(canonical(f"/{converter.to_url(texts)}")[1:]) == texts


def test_items_and_their_values(client: FlaskClient) -> None:
    rows: Any = client.get("/items/I0/I1=2.5/a%3Db/c%3Dd=-1/e=f=3", headers=JSON).json
    assert [tuple(row.values()) for row in rows] == [
        ("I0", 1.0),
        ("I1", 2.5),
        ("a=b", 1.0),
        ("c=d", -1.0),
        ("e=f", 3.0),
    ]


@pytest.mark.parametrize("path", ["/items/a=x", "/items/a=nan", "/items/a=1e999", "/items/=1"])
def test_bad_values_of_items_are_refused(client: FlaskClient, path: str) -> None:
    reply = client.get(path)
    assert (reply.status_code, code(reply)) == (400, "bad_parameter")


@pytest.mark.parametrize(
    "path", ["/echoes", "/echoes/", "/echoes//a", "/echo/a/", "/context/a", "/nothing"]
)
def test_other_paths_are_not_found_and_nobody_is_redirected(client: FlaskClient, path: str) -> None:
    reply = client.get(path)
    assert (reply.status_code, code(reply)) == (404, "not_found")


def test_a_rule_may_end_with_a_slash(client: FlaskClient) -> None:
    assert client.get("/context/a/").text == "a"


def test_an_escape_of_an_equals_sign_is_not_a_separator() -> None:
    assert Items(Map()).to_python(canonical("/x%3D1=2")[1:]) == [("x=1", 2.0)]


def test_all_routes_lie_under_the_context_path(serve: Callable[..., Any]) -> None:
    client = serve(serving__api__context_path="/models/a").client
    assert client.get("/models/a/echo/x").text == "x"
    assert client.get("/models/a/").status_code == 200
    assert 'src="/models/a/console/console.js"' in client.get("/models/a").text
    for outside in ("/echo/x", "/models/ab/echo/x", "/models"):
        assert client.get(outside).status_code == 404


# -- errors ----------------------------------------------------------------------------------


def test_an_error_is_json_text_or_html(client: FlaskClient) -> None:
    reply = client.get("/user/%3Cscript%3E")
    assert reply.status_code == 404
    assert reply.json == {
        "error": {
            "code": "unknown_id",
            "message": "unknown user '<script>'",
            "request_id": reply.headers["X-Request-Id"],
        }
    }
    text = client.get("/user/u", headers={"Accept": "text/plain"})
    assert (text.mimetype, text.text) == ("text/plain", "unknown user 'u'\n")
    page = client.get("/user/%3Cscript%3E", headers={"Accept": "text/html,*/*;q=0.1"})
    assert page.mimetype == "text/html"
    assert "&lt;script&gt;" in page.text
    assert "/user/" in page.text
    assert "<script>" not in page.text


def test_a_failure_tells_its_request_id_and_nothing_else(
    client: FlaskClient, caplog: pytest.LogCaptureFixture
) -> None:
    reply: Any = client.get("/fail", headers={"X-Request-Id": "abc-1"})
    assert (reply.status_code, code(reply)) == (500, "internal")
    assert reply.json["error"]["request_id"] == reply.headers["X-Request-Id"] == "abc-1"
    assert "secret" not in reply.text
    assert "Traceback" not in reply.text
    assert [record.levelname for record in caplog.records if "abc-1" in record.message] == ["ERROR"]


def test_a_request_id_that_is_none_is_replaced(client: FlaskClient) -> None:
    reply = client.get("/livez", headers={"X-Request-Id": "a b;<c>"})
    assert len(reply.headers["X-Request-Id"]) == 16


def test_the_wrong_method_is_told_the_right_ones(client: FlaskClient) -> None:
    reply = client.post("/numbers")
    assert (reply.status_code, code(reply)) == (405, "method_not_allowed")
    assert set(reply.headers["Allow"].split(", ")) == {"GET", "HEAD", "OPTIONS"}


# -- the model -------------------------------------------------------------------------------


def test_no_model_is_503_and_says_what_is_missing(served: Any) -> None:
    served.current.model = None
    served.current.missing = "no model generation yet"
    reply = served.client.get("/name")
    assert (reply.status_code, code(reply)) == (503, "model_not_ready")
    assert "no model generation yet" in reply.json["error"]["message"]
    assert reply.headers["Retry-After"] == "5"


def test_each_generation_must_be_loaded_enough(served: Any, stub: Any) -> None:
    assert served.client.get("/name").text == "one"
    served.current.model = stub.Serving(served.settings, "two")
    served.current.model.fraction_loaded = 0.79
    reply = served.client.get("/name")
    assert reply.status_code == 503
    assert "79%" in reply.json["error"]["message"]
    served.current.model.fraction_loaded = 0.8
    assert served.client.get("/name").text == "two"


def test_a_reply_names_its_generation_and_age(client: FlaskClient) -> None:
    reply = client.get("/name")
    assert reply.headers["X-Model-Generation"] == "7"
    assert reply.headers["X-Model-Age"] == "12.500"
    assert "X-Model-Generation" not in client.get("/livez").headers


@pytest.mark.slow
def test_a_request_sees_one_generation_while_they_change(served: Any, stub: Any) -> None:
    models = [stub.Serving(served.settings, str(number)) for number in range(2)]
    stop = threading.Event()

    class Switching(type(served.current)):  # type: ignore[misc]
        slot = (models[0], 0)
        model = property(lambda self: self.slot[0])
        generation = property(lambda self: self.slot[1])

        def __init__(self) -> None:
            self.model_age_seconds = None

    def switch() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            Switching.slot = (models[number % 2], number % 2)

    current = Switching()
    context = served.app.extensions["gemsbok"]
    object.__setattr__(context, "current", current)
    thread = threading.Thread(target=switch)
    thread.start()
    try:
        replies = [served.client.get("/name") for _ in range(200)]
    finally:
        stop.set()
        thread.join()
    assert {reply.text for reply in replies} == {"0", "1"}
    assert all(reply.text == reply.headers["X-Model-Generation"] for reply in replies)


def test_an_error_document_has_these_parts_only() -> None:
    error = ApiError(400, "bad_line", "two fields are missing", line=3)
    assert json.loads(error.to_json("r")) == {
        "error": {
            "code": "bad_line",
            "message": "two fields are missing",
            "line": 3,
            "request_id": "r",
        }
    }
