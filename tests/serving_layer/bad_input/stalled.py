"""Clients that begin a request and never end it."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from tests.serving_layer.bad_input.requests import HOST

#: Each sends one of these and then nothing more.
BEGINNINGS = {
    "headers": f"POST /ingest HTTP/1.1\r\n{HOST}\r\nX-Slow: ".encode(),
    "bodies": f"POST /ingest HTTP/1.1\r\n{HOST}\r\nContent-Length: 9\r\n\r\nu".encode(),
    "silence": b"",
}


@contextmanager
def stalled(host: str, port: int, beginning: bytes, count: int = 40) -> Iterator[None]:
    """Keep `count` connections open that have sent no more than `beginning`."""
    with ExitStack() as stack:
        for _ in range(count):
            connection = stack.enter_context(socket.create_connection((host, port), timeout=30))
            connection.sendall(beginning)
        yield
