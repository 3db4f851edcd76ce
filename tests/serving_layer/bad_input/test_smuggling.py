"""Requests that two servers in a row could read in two ways: refused, and the connection ends."""

from __future__ import annotations

import socket

import pytest

from tests.serving_layer.bad_input.conftest import AlsServer
from tests.serving_layer.bad_input.requests import HOST, raw

SECOND = b"POST /pref/smuggled/i HTTP/1.1\r\n" + HOST.encode() + b"\r\nContent-Length: 0\r\n\r\n"
CHUNKS = b"0\r\n\r\n" + SECOND

VARIANTS = {
    "length-then-chunks": (["Content-Length: 6", "Transfer-Encoding: chunked"], CHUNKS),
    "chunks-then-length": (["Transfer-Encoding: chunked", "Content-Length: 6"], CHUNKS),
    "length-0-and-chunks": (["Content-Length: 0", "Transfer-Encoding: chunked"], CHUNKS),
    "two-lengths": (["Content-Length: 0", f"Content-Length: {len(SECOND)}"], SECOND),
    "length-list": ([f"Content-Length: 0, {len(SECOND)}"], SECOND),
    "length-plus": (["Content-Length: +0"], SECOND),
    "length-negative": (["Content-Length: -1"], SECOND),
    "length-hexadecimal": (["Content-Length: 0x0"], SECOND),
    "chunks-unknown": (["Transfer-Encoding: xchunked"], CHUNKS),
    "chunks-not-last": (["Transfer-Encoding: chunked, identity"], CHUNKS),
    "space-before-colon": (["Transfer-Encoding : chunked"], CHUNKS),
    "folded-header": (["X-A: b", " Transfer-Encoding: chunked"], CHUNKS),
    "nul-in-header": (["X-A: b\0"], SECOND),
    "line-feed-in-chunk": (["Transfer-Encoding: chunked"], b"0\n\n" + SECOND),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_s20_a_second_request_is_not_seen(als_server: AlsServer, name: str) -> None:
    headers, body = VARIANTS[name]
    data = raw("POST", "/ingest", HOST, "Content-Type: text/csv", *headers, body=body)
    reply = whole_reply(als_server, data)
    assert reply.count(b"HTTP/1.1 ") == 1, reply
    assert reply.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 411 ")), reply
    assert als_server.arrived() == []
    als_server.assert_answers()


def whole_reply(server: AlsServer, data: bytes) -> bytes:
    """All that comes until the server ends the connection, which it must."""
    address = (server.running.host, server.running.port)
    reply = b""
    with socket.create_connection(address, timeout=30) as connection:
        connection.sendall(data)
        try:
            while part := connection.recv(65536):
                reply += part
        except ConnectionResetError:
            # What it had not read when it ended the connection; the reply is here.
            pass
    return reply
