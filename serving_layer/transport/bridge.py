"""From the HTTP server's events to the WSGI application, with every request read whole first.

The server speaks ASGI, which alone among its interfaces tells the path as it was sent.  A
request takes a thread only when all of its body is here, so a client that stalls holds
a connection and nothing else.  Quick ones take none (:mod:`serving_layer.transport.quick`).
What is malformed is refused before any route sees it:

=====  ====================  =========================================================
Reply  Code                  When
=====  ====================  =========================================================
400    ``bad_host``          no Host, or several (HTTP/1.0 may leave it out)
400    ``bad_length``        several Content-Lengths, or one that is not a number
400    ``truncated_body``    fewer bytes than Content-Length says
408    ``body_timeout``      the body took too long
411    ``length_required``   a body in chunks, whether or not it has a Content-Length too
413    ``body_too_large``    a Content-Length above ``serving.api.max_body_bytes``
503    ``overloaded``        too many requests, or bytes of bodies, are waiting
=====  ====================  =========================================================
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from serving_layer.http.errors import RETRY_SECONDS, ApiError
from serving_layer.http.problem import PROBLEM_JSON, concerns, problem_of
from serving_layer.http.request_id import request_id
from serving_layer.transport.environ import environ_of, put_body
from serving_layer.transport.quick import is_quick
from serving_layer.transport.request_threads import RequestThreads

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

    from serving_layer.http.lean import LeanFlask

log = logging.getLogger(__name__)

#: Names of headers of which the form that is sent is remembered.
NAMES = 256

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


@dataclass(frozen=True)
class Limits:
    """How much the bridge takes on.

    Attributes
    ----------
    threads : int
        Requests computed at once.
    body_bytes : int
        Bytes of one body.
    waiting : int
        Requests that may wait for a thread.
    held_bytes : int
        Bytes of bodies in memory at once.
    body_seconds, bytes_per_second : float
        A body has to be here after `body_seconds` and one second more for each
        `bytes_per_second` of it.
    """

    threads: int
    body_bytes: int
    waiting: int
    held_bytes: int
    body_seconds: float = 10.0
    bytes_per_second: float = 65536.0

    def deadline(self, length: int) -> float:
        """Seconds that a body of `length` bytes may take."""
        return self.body_seconds + length / self.bytes_per_second


class Reply(NamedTuple):
    """A whole response."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


class Bridge:
    """An ASGI application around one of Flask.

    Parameters
    ----------
    app : LeanFlask
        With all of its routes; called on a thread with the whole body in memory.
    limits : Limits
        How much to take on.
    on_refused : callable
        Called with the code of each request that is refused here.
    context_path : str
        The path under which all routes lie.
    """

    def __init__(
        self,
        app: LeanFlask,
        limits: Limits,
        on_refused: Callable[[str], None],
        context_path: str = "/",
    ) -> None:
        self._app = app
        self._context_path = context_path
        self._limits = limits
        self._on_refused = on_refused
        self._threads = RequestThreads(limits.threads)
        self._held = 0
        self.in_flight = 0

    def close(self) -> None:
        """Let the threads end, each after the request that it computes."""
        self._threads.close()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        self.in_flight += 1
        try:
            reply = await self._answer(scope, receive)
        except ApiError as error:
            self._on_refused(error.error_code)
            reply = _refusal(error, scope["raw_path"].decode("latin-1"), self._context_path)
        finally:
            self.in_flight -= 1
        start = {"type": "http.response.start", "status": reply.status, "headers": reply.headers}
        await send(start)
        await send({"type": "http.response.body", "body": reply.body})

    async def _answer(self, scope: Message, receive: Receive) -> Reply:
        length = _check([name for name, _ in scope["headers"]], scope)
        if length > self._limits.body_bytes:
            message = f"the body has {length} bytes, {self._limits.body_bytes} are allowed"
            raise ApiError(413, "body_too_large", message)
        environ = environ_of(scope)
        if not length and is_quick(self._app, scope, environ):
            return self._call(environ)
        if self.in_flight > self._limits.waiting + self._limits.threads:
            raise _overloaded()
        body = b""
        try:
            if length:
                body = await self._read(receive, length)
                put_body(environ, body)
            return await self._threads.run(self._call, environ)
        finally:
            self._held -= len(body)

    async def _read(self, receive: Receive, length: int) -> bytes:
        """Read a body of `length` bytes; what is held of it counts while it is read, too."""
        body = bytearray()
        try:
            await asyncio.wait_for(self._fill(body, receive, length), self._limits.deadline(length))
        except asyncio.TimeoutError:
            self._held -= len(body)
            message = f"{len(body)} of {length} bytes came in {self._limits.deadline(length):.0f} s"
            raise ApiError(408, "body_timeout", message) from None
        except ApiError:
            self._held -= len(body)
            raise
        return bytes(body)

    async def _fill(self, body: bytearray, receive: Receive, length: int) -> None:
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                break
            body += message["body"]
            self._held += len(message["body"])
            if self._held > self._limits.held_bytes:
                raise _overloaded()
            more = message.get("more_body", False)
        if len(body) != length:
            message_text = f"Content-Length is {length}, but {len(body)} bytes came"
            raise ApiError(400, "truncated_body", message_text)

    def _call(self, environ: WSGIEnvironment) -> Reply:
        """Run the WSGI application on this thread."""
        started: list[tuple[str, list[tuple[str, str]]]] = []

        def start_response(
            status: str, headers: list[tuple[str, str]], exc_info: object = None
        ) -> Callable[[bytes], object]:
            started[:] = [(status, headers)]
            return _no_write

        chunks = self._app.wsgi_app(environ, start_response)
        try:
            body = b"".join(chunks)
        finally:
            if (close := getattr(chunks, "close", None)) is not None:
                close()
        status, headers = started[0]
        encoded = [(_sent_name(name), value.encode("latin-1")) for name, value in headers]
        return Reply(int(status[:3]), encoded, body)


def _no_write(data: bytes) -> None:
    message = "the application must return its body, not write it"
    raise RuntimeError(message)


def _check(names: list[bytes], scope: Message) -> int:
    """Refuse what is malformed and return the body's length.

    The server leaves a Content-Length out where there is a Transfer-Encoding too, so such a
    request, which two servers in a row could read in two ways, ends as one in chunks.
    """
    headers = dict(scope["headers"])
    host_needed = scope["http_version"] not in ("1", "1.0")
    if names.count(b"host") > 1 or (host_needed and not headers.get(b"host")):
        raise ApiError(400, "bad_host", "a request has one Host header")
    if b"transfer-encoding" in headers:
        message = "send the body with a Content-Length, not in chunks"
        raise ApiError(411, "length_required", message)
    text = headers.get(b"content-length", b"0")
    # Of bytes, isdigit() takes ASCII alone.
    if names.count(b"content-length") > 1 or not text.isdigit():
        raise ApiError(400, "bad_length", "Content-Length is not one number")
    return int(text)


def _overloaded() -> ApiError:
    headers = {"Retry-After": str(RETRY_SECONDS)}
    message = "too much is waiting to be answered; try again later"
    return ApiError(503, "overloaded", message, headers=headers)


def _refusal(error: ApiError, path: str, context_path: str) -> Reply:
    """Reply with an error and close the connection: the rest of it cannot be trusted."""
    id = request_id()
    log.info("request %s is refused: %s: %s", id, error.error_code, error.message)
    kind, document = "application/json", error.to_json(id)
    if concerns(path, context_path):
        kind, document = PROBLEM_JSON, problem_of(error, path, id).encode()
    headers = {
        "content-type": kind,
        "x-request-id": id,
        "connection": "close",
        **error.headers,
    }
    encoded = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    return Reply(error.code or 500, encoded, document)


@lru_cache(maxsize=NAMES)
def _sent_name(name: str) -> bytes:
    return name.lower().encode("latin-1")
