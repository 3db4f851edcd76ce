"""The real server against malformed, stalled and many requests: bytes in, bytes out."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any

import httpx
import pytest
from granian.server.common import AbstractServer

from tests.serving_layer.running import error_code
from tests.waiting import wait_until

HOST = b"Host: localhost\r\nConnection: close\r\n"
CSV = b"Content-Type: text/csv\r\n"
#: For whatever comes; no test takes as long unless it fails.
SECONDS = 60.0
HALF_A_BODY = b"POST /ingest HTTP/1.1\r\n" + HOST + CSV + b"Content-Length: 10\r\n\r\na,1"


@pytest.fixture
def server(served: Any, run: Callable[..., Any]) -> Any:
    running = run(served.app)
    running.served = served
    return running


def url(server: Any, path: str) -> str:
    return f"http://{server.host}:{server.port}{path}"


def get(server: Any, path: str, **headers: str) -> httpx.Response:
    return httpx.get(url(server, path), headers=headers, timeout=SECONDS)


def post(server: Any, path: str, body: bytes) -> httpx.Response:
    headers = {"Content-Type": "text/csv"}
    return httpx.post(url(server, path), content=body, headers=headers, timeout=SECONDS)


class HeldRoute:
    """A route whose requests are not answered before it is told."""

    def __init__(self, served: Any) -> None:
        self.over = threading.Event()
        served.app.add_url_rule("/held", view_func=self._answer)

    def _answer(self) -> str:
        assert self.over.wait(SECONDS)
        return "done"


def test_three_lines_arrive_whole(server: Any) -> None:
    assert post(server, "/ingest", b"a,1\nb,2\nc,3\n").status_code == 204
    assert server.served.sent() == [("a", "a,1"), ("b", "b,2"), ("c", "c,3")]


@pytest.mark.parametrize(
    ("request_bytes", "half_close", "status", "error"),
    [
        pytest.param(
            HALF_A_BODY,
            True,
            400,
            "truncated_body",
            id="half-closed",
        ),
        pytest.param(
            b"POST /ingest HTTP/1.1\r\n" + HOST + CSV + b"Content-Length: 100001\r\n\r\n",
            False,
            413,
            "body_too_large",
            id="too-large",
        ),
        pytest.param(
            b"POST /ingest HTTP/1.1\r\n"
            + HOST
            + CSV
            + b"Content-Length: "
            + b"9" * 5000
            + b"\r\n\r\n",
            False,
            400,
            None,
            id="endless-length",
        ),
        pytest.param(
            b"POST /ingest HTTP/1.1\r\n"
            + HOST
            + CSV
            + b"Transfer-Encoding: chunked\r\n\r\n3\r\na,1\r\n0\r\n\r\n",
            False,
            411,
            "length_required",
            id="chunked",
        ),
        pytest.param(
            b"POST /ingest HTTP/1.1\r\n"
            + HOST
            + CSV
            + b"Transfer-Encoding: chunked\r\n\r\n3\r\na,1",
            True,
            411,
            "length_required",
            id="chunked-ended-early",
        ),
        pytest.param(
            b"POST /ingest HTTP/1.1\r\n"
            + HOST
            + CSV
            + b"Transfer-Encoding: chunked\r\n\r\nzz\r\na,1\r\n0\r\n\r\n",
            False,
            411,
            "length_required",
            id="bad-chunk-size",
        ),
        pytest.param(
            b"POST /ingest HTTP/1.1\r\n"
            + HOST
            + CSV
            + b"Content-Length: 3\r\n"
            + b"Transfer-Encoding: chunked\r\n\r\n3\r\na,1\r\n0\r\n\r\n",
            False,
            411,
            "length_required",
            id="length-and-chunks",
        ),
        pytest.param(
            b"POST /ingest HTTP/1.1\r\n"
            + HOST
            + CSV
            + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\na,1",
            False,
            400,
            None,
            id="two-lengths",
        ),
        pytest.param(
            b"GET /livez HTTP/1.1\r\nConnection: close\r\n\r\n",
            False,
            400,
            "bad_host",
            id="no-host",
        ),
        pytest.param(
            b"GET /livez HTTP/1.1\r\n" + HOST + b"Host: other\r\n\r\n",
            False,
            400,
            "bad_host",
            id="two-hosts",
        ),
        pytest.param(
            b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n",
            False,
            414,
            None,
            id="long-uri",
        ),
        pytest.param(
            b"GET /livez HTTP/1.1\r\n"
            + HOST
            + b"".join(b"X-%d: 1\r\n" % n for n in range(150))
            + b"\r\n",
            False,
            431,
            None,
            id="many-headers",
        ),
        pytest.param(
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 64, False, 400, None, id="tls"
        ),
        pytest.param(
            b"GET /echo/%zz HTTP/1.1\r\n" + HOST + b"\r\n",
            False,
            400,
            "bad_encoding",
            id="bad-escape",
        ),
        pytest.param(
            b"GET /echo/%ff%fe HTTP/1.1\r\n" + HOST + b"\r\n",
            False,
            400,
            "bad_encoding",
            id="not-utf-8",
        ),
        pytest.param(
            b"GET /echo/a%00b HTTP/1.1\r\n" + HOST + b"\r\n", False, 400, "bad_id", id="null"
        ),
        pytest.param(
            b"GET /echo//a HTTP/1.1\r\n" + HOST + b"\r\n",
            False,
            404,
            "not_found",
            id="empty-segment",
        ),
        pytest.param(
            b"GET /../../etc/passwd HTTP/1.1\r\n" + HOST + b"\r\n",
            False,
            404,
            "not_found",
            id="dots",
        ),
        pytest.param(
            b"PUT /livez HTTP/1.1\r\n" + HOST + b"\r\n",
            False,
            405,
            "method_not_allowed",
            id="method",
        ),
    ],
)
def test_malformed_requests_write_nothing_and_the_next_one_is_answered(
    server: Any, request_bytes: bytes, half_close: bool, status: int, error: str | None
) -> None:
    got, body = server.exchange(request_bytes, half_close)
    assert got == status
    if error is not None:
        assert error_code(body) == error
    assert server.served.sent() == []
    assert server.exchange(b"GET /livez HTTP/1.1\r\n" + HOST + b"\r\n")[0] == 200


def test_a_stalled_body_is_given_up(served: Any, run: Callable[..., Any]) -> None:
    server = run(served.app, body_seconds=0.5)
    status, body = server.exchange(HALF_A_BODY)
    assert (status, error_code(body)) == (408, "body_timeout")
    assert served.sent() == []
    assert get(server, "/livez").status_code == 200


@pytest.mark.parametrize(
    ("sent", "id_"),
    [
        ("a%2Fb", "a/b"),
        ("a%25b", "a%b"),
        ("a%252Fb", "a%2Fb"),
        ("a=b%3Dc", "a=b=c"),
        ("a+b;c", "a+b;c"),
        ("%C3%A9", "\u00e9"),
        ("e%CC%81", "e\u0301"),
        ("%F0%9F%A6%8C", "\U0001f98c"),
        ("%D7%90", "\u05d0"),
        ("..", ".."),
        ("%2E%2E%2Fx", "../x"),
    ],
)
def test_ids_are_told_apart_byte_for_byte(server: Any, sent: str, id_: str) -> None:
    status, body = server.exchange(f"GET /echo/{sent} HTTP/1.1\r\n".encode() + HOST + b"\r\n")
    assert (status, body.decode()) == (200, id_)


def test_refusals_under_v1_are_problem_details(server: Any) -> None:
    request = b"POST /v1/events HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n"
    status, body = server.exchange(request + b"0\r\n\r\n")
    problem = json.loads(body)
    assert (status, problem["status"]) == (411, 411)
    assert (problem["code"], problem["instance"]) == ("length_required", "/v1/events")


def test_an_http_1_0_request_needs_no_host(server: Any) -> None:
    assert server.exchange(b"GET /livez HTTP/1.0\r\n\r\n")[0] == 200


def test_stalled_clients_leave_the_server_answering(server: Any) -> None:
    stalled = []
    for n in range(80):
        connection = socket.create_connection((server.host, server.port))
        half = b"POST /ingest HTTP/1.1\r\n" + HOST
        connection.sendall(half + b"Content-Length: 9\r\n\r\na" if n % 2 else half)
        stalled.append(connection)
    try:
        for _ in range(5):
            assert get(server, "/ready").status_code == 200
    finally:
        for connection in stalled:
            connection.close()


def test_too_many_waiting_requests_are_refused(served: Any, run: Callable[..., Any]) -> None:
    held = HeldRoute(served)
    server = run(served.app, threads=2, waiting=2)
    with ThreadPoolExecutor(16) as pool:
        ended = as_completed([pool.submit(get, server, "/held") for _ in range(16)])
        refused = [next(ended).result() for _ in range(12)]
        held.over.set()
        assert [one.result().status_code for one in ended] == [200] * 4
    assert {reply.status_code for reply in refused} == {503}
    assert {reply.json()["error"]["code"] for reply in refused} == {"overloaded"}
    assert {reply.headers["retry-after"] for reply in refused} == {"5"}
    scraped = served.client.get("/metrics").text
    assert 'gemsbok_http_refused_total{code="overloaded"} 12.0' in scraped


def test_bodies_in_memory_are_bounded(served: Any, run: Callable[..., Any]) -> None:
    server = run(served.app, held_bytes=50_000)
    body = b"a," + b"1" * 60_000
    assert post(server, "/lines", body).status_code == 503
    reply = post(server, "/lines", body[:40_000])
    assert reply.status_code == 200
    assert len(reply.text) == len('""\n') + 40_000


def test_accepted_requests_finish_when_the_server_stops(
    served: Any, run: Callable[..., Any]
) -> None:
    held = HeldRoute(served)
    server = run(served.app, threads=8)
    draining = served.app.extensions["gemsbok"].draining
    with ThreadPoolExecutor(9) as pool:
        replies = [pool.submit(get, server, "/held") for _ in range(8)]
        wait_until(lambda: bool(server.server.in_flight == 8), "eight requests are taken")
        closed = pool.submit(server.close)
        wait_until(draining.is_set, "the server stops")
        held.over.set()
        assert [reply.result().status_code for reply in replies] == [200] * 8
        closed.result()
    with pytest.raises(httpx.ConnectError):
        get(server, "/livez")


def test_large_replies_arrive_whole_and_compressed(server: Any) -> None:
    for encoding in ("gzip", "deflate", "identity"):
        reply = get(server, "/many/100000", **{"Accept-Encoding": encoding})
        assert reply.headers.get("content-encoding", "identity") == encoding
        assert reply.text.count("\n") == 100_000


def test_head_has_headers_and_no_body(server: Any) -> None:
    reply = httpx.head(url(server, "/ready"), timeout=SECONDS)
    assert (reply.status_code, reply.content) == (200, b"")
    reply = httpx.head(url(server, "/many/10"), timeout=SECONDS)
    assert (reply.status_code, reply.content) == (200, b"")


def test_granian_listens_on_our_socket_alone(server: Any) -> None:
    # Its own, which it makes where it no longer asks for one as we override it, could be shared.
    assert callable(AbstractServer._init_shared_socket)
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        with pytest.raises(OSError, match="in use"):
            other.bind((server.host, server.port))
