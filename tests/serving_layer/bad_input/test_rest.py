"""Bad requests to the server that ships: a clear reply, nothing written, and it goes on."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from dataclasses import replace

import httpx
import numpy as np
import pytest

from common.apps.als.payload import encode_update
from tests.serving_layer.bad_input.conftest import LIMITS, AlsServer
from tests.serving_layer.bad_input.requests import Row, get, packed, post, unfinished
from tests.serving_layer.bad_input.rest_rows import GOOD, ROWS


@pytest.mark.parametrize("row", ROWS, ids=[row.id for row in ROWS])
def test_a_bad_request_writes_nothing(als_server: AlsServer, row: Row) -> None:
    assert_refused(als_server, row)


def test_b19_a_stalled_body_is_given_up(als_serving: Callable[..., AlsServer]) -> None:
    server = als_serving(limits=replace(LIMITS, body_seconds=0.5))
    assert_refused(server, Row("", unfinished(b"u,i", "Content-Length: 10"), 408, "body_timeout"))


def assert_refused(server: AlsServer, row: Row) -> None:
    status, body = server.send(row.data, row.half_close)
    assert status == row.status, body
    if row.code is not None:
        error = json.loads(body)["error"]
        assert error["code"] == row.code
        assert error.get("line") == row.line
        assert error["message"]
        assert error["request_id"]
        assert "Traceback" not in error["message"]
    assert server.arrived() == []
    server.assert_answers()


def test_b07_an_empty_strength_deletes(als_server: AlsServer) -> None:
    assert als_server.send(post(b"u,i,,7\n"))[0] == 204
    assert als_server.arrived() == [["u", "i", "", "7"]]


def test_b10_a_quoted_comma_belongs_to_the_id(als_server: AlsServer) -> None:
    assert als_server.send(post(b'"a,b",i,1,7\n'))[0] == 204
    assert als_server.arrived() == [["a,b", "i", "1.0", "7"]]


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"u,i,1,7\r\nv,j,2,8\r\n", id="B12-crlf"),
        pytest.param(b"\xef\xbb\xbfu,i,1,7\nv,j,2,8\n", id="B12-bom"),
        pytest.param(b"u,i,1,7\nv,j,2,8", id="B12-no-final-newline"),
    ],
)
def test_the_same_events_however_lines_end(als_server: AlsServer, body: bytes) -> None:
    assert als_server.send(post(body))[0] == 204
    assert als_server.arrived() == [["u", "i", "1.0", "7"], ["v", "j", "2.0", "8"]]


def test_b22_gzip_sends_the_same_events(als_server: AlsServer) -> None:
    assert als_server.send(packed(gzip.compress(b"u,i,1,7\nv,j,2,8\n")))[0] == 204
    assert als_server.arrived() == [["u", "i", "1.0", "7"], ["v", "j", "2.0", "8"]]


def test_b37_a_read_only_layer_refuses(als_serving: Callable[..., AlsServer]) -> None:
    server = als_serving(serving__api__read_only=True)
    for request in (post(GOOD), post(b"\xff"), post(b"", "", "/pref/u/i")):
        status, body = server.send(request)
        assert (status, json.loads(body)["error"]["code"]) == (403, "read_only")
    assert server.arrived() == []
    assert server.send(get("/recommend/U0"))[0] == 200


@pytest.mark.parametrize(
    ("sent", "id_"),
    [
        pytest.param("a%2Fb", "a/b", id="B44-slash"),
        pytest.param("a%252Fb", "a%2Fb", id="B44-escaped-twice"),
        pytest.param("%C3%A9", "\u00e9", id="B50-nfc"),
        pytest.param("e%CC%81", "e\u0301", id="B50-nfd"),
        pytest.param("%F0%9F%A6%8C", "\U0001f98c", id="B50-emoji"),
        pytest.param("%D7%90", "\u05d0", id="B50-right-to-left"),
    ],
)
def test_ids_arrive_byte_for_byte(als_server: AlsServer, sent: str, id_: str) -> None:
    assert als_server.send(post(b"", "", f"/pref/{sent}/{sent}"))[0] == 204
    ((user, item, *_),) = als_server.arrived()
    assert (user, item) == (id_, id_)


def test_b52_a_zero_vector_has_finite_answers(als_serving: Callable[..., AlsServer]) -> None:
    server = als_serving()
    server.served.model.apply(encode_update("X", "U0", np.zeros(2)))
    server.served.model.apply(encode_update("Y", "I0", np.zeros(2)))
    paths = ("/recommend/U0", "/similarity/I0", "/similarity/I0/I1", "/estimate/U0/I0/I1")
    for path in (*paths, "/similarityToItem/I0/I1", "/because/U0/I4", "/mostSurprising/U0"):
        status, body = server.send(get(path))
        assert status == 200, (path, body)
        numbers = [float(line.rpartition(b",")[2]) for line in body.splitlines()]
        assert numbers, path
        assert np.isfinite(numbers).all(), path


def test_b54_the_right_methods_are_told(als_server: AlsServer) -> None:
    url = f"http://{als_server.running.host}:{als_server.running.port}/recommend/U0"
    reply = httpx.put(url, timeout=30)
    assert (reply.status_code, "GET" in reply.headers["Allow"]) == (405, True)


def test_b57_without_a_model_503_says_so(als_serving: Callable[..., AlsServer]) -> None:
    server = als_serving()
    server.served.app.extensions["gemsbok"].current.model = None
    status, body = server.send(get("/recommend/U0"))
    assert (status, json.loads(body)["error"]["code"]) == (503, "model_not_ready")


def test_b62_three_lines_are_three_records(als_server: AlsServer) -> None:
    assert als_server.send(post(b"u,i,1,7\nv,j,2,8\nw,k,3,9\n"))[0] == 204
    assert [line[0] for line in als_server.arrived()] == ["u", "v", "w"]
