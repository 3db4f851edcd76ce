"""Requests as bytes, and the table of what is wrong with them."""

from __future__ import annotations

from dataclasses import dataclass

HOST = "Host: localhost"
CLOSE = "Connection: close"
#: Bytes of a body that the server under test takes.
BODY_LIMIT = 2_000_000


@dataclass(frozen=True)
class Row:
    """One malformed request and what has to become of it.

    Attributes
    ----------
    id : str
        Row of the table, and after a dash which of its cases.
    data : bytes
        The request as it is sent.
    status : int
        The reply's status.
    code : str or None
        The reply's error code; None where the server itself answers, before our code.
    line : int or None
        The line that the reply blames.
    half_close : bool
        Whether the client stops to send after the request.
    """

    id: str
    data: bytes
    status: int
    code: str | None
    line: int | None = None
    half_close: bool = False


def raw(method: str, target: str, *headers: str, body: bytes = b"") -> bytes:
    """Bytes of a request with these headers and no others."""
    head = "\r\n".join([f"{method} {target} HTTP/1.1", *headers])
    return head.encode() + b"\r\n\r\n" + body


def get(target: str, *headers: str) -> bytes:
    """A query."""
    return raw("GET", target, HOST, CLOSE, *headers)


def post(body: bytes, kind: str = "text/csv", target: str = "/ingest", *headers: str) -> bytes:
    """A whole, well-formed write."""
    types = [f"Content-Type: {kind}"] if kind else []
    length = f"Content-Length: {len(body)}"
    return raw("POST", target, HOST, CLOSE, *types, length, *headers, body=body)


def json(body: bytes) -> bytes:
    """A write in JSON."""
    return post(body, "application/json")


def packed(body: bytes, encoding: str = "gzip") -> bytes:
    """A write with a Content-Encoding."""
    return post(body, "text/csv", "/ingest", f"Content-Encoding: {encoding}")


def unfinished(body: bytes, *headers: str) -> bytes:
    """A write whose length the given headers state."""
    return raw("POST", "/ingest", HOST, CLOSE, "Content-Type: text/csv", *headers, body=body)


def form(parts: list[tuple[str, bytes]]) -> bytes:
    """A write of several parts, each of a type."""
    pieces = [
        f'--x\r\nContent-Disposition: form-data; name="f"; filename="f"\r\n'
        f"Content-Type: {kind}\r\n\r\n".encode()
        + content
        + b"\r\n"
        for kind, content in parts
    ]
    return post(b"".join([*pieces, b"--x--\r\n"]), "multipart/form-data; boundary=x")
