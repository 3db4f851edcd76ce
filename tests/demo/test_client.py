"""The serving layer's client, against a server that records what it is asked."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest

from demo.client import ASKED, ServingClient
from stack import ports
from stack.errors import UserError

Request = tuple[str, str, bytes, int]


class Endpoint(ThreadingHTTPServer):
    """Answers as the serving layer does; `requests` has method, path, body, client port."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests: list[Request] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    answers: ClassVar[dict[str, tuple[int, bytes]]] = {
        "/livez": (200, b""),
        "/ready": (503, b"{}"),
        "/ingest": (204, b""),
        f"/recommend/a%2Fb?howMany={ASKED}": (200, b'[{"id":"i1","value":2.0}]'),
        "/knownItems/u": (200, b'["i1"]'),
        "/status": (200, b'{"generation":7}'),
    }

    def do_GET(self) -> None:
        self.reply(b"")

    def do_POST(self) -> None:
        self.reply(self.rfile.read(int(self.headers["Content-Length"])))

    def reply(self, body: bytes) -> None:
        assert isinstance(self.server, Endpoint)
        self.server.requests.append((self.command, self.path, body, self.client_address[1]))
        status, data = self.answers.get(self.path, (404, b"{}"))
        if body == b"bad":
            status, data = 400, json.dumps({"error": {"message": "line 1 is bad"}}).encode()
        self.send_response(status)
        if status != 204:
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    server = Endpoint()
    # Its connections stay open: their threads must not be waited for.
    server.daemon_threads = True
    server.block_on_close = False
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def client(endpoint: Endpoint) -> Iterator[ServingClient]:
    found = ServingClient(endpoint.url)
    yield found
    found.close()


def test_questions_and_answers(client: ServingClient) -> None:
    assert client.is_up()
    assert not client.is_ready()
    assert client.recommend("a/b") == ["i1"]
    assert client.recommend("nobody") is None
    assert client.knows("u", "i1")
    assert not client.knows("u", "i2")
    assert client.status() == {"generation": 7}


def test_events_go_in_one_post_over_one_connection(
    client: ServingClient, endpoint: Endpoint
) -> None:
    client.ingest(["u,i,1,2", "u,j,1,3"])
    client.ingest(["v,i,1,4"])
    methods, paths, bodies, connections = zip(*endpoint.requests, strict=True)
    assert set(methods) == {"POST"}
    assert set(paths) == {"/ingest"}
    assert bodies == (b"u,i,1,2\nu,j,1,3", b"v,i,1,4")
    assert len(set(connections)) == 1


def test_a_refusal_tells_the_servers_words(client: ServingClient) -> None:
    with pytest.raises(UserError, match=r"400 to /ingest: .*line 1 is bad"):
        client.ingest(["bad"])


def test_who_does_not_answer_is_not_up() -> None:
    client = ServingClient(f"http://127.0.0.1:{ports.free_port()}")
    assert not client.is_up()
    with pytest.raises(UserError, match="does not answer GET /ready"):
        client.is_ready()
