"""The HTTP server: granian in this process, its lifetime, and how it stops."""

from __future__ import annotations

import asyncio
import errno
import logging
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import uvloop
from granian.constants import HTTPModes, Interfaces, SSLProtocols
from granian.http import HTTP1Settings
from granian.log import LogLevels
from granian.net import SocketHolder  # type: ignore[attr-defined]
from granian.server.embed import Server

from serving_layer.bridge import Bridge, Limits
from serving_layer.hosts import is_loopback

if TYPE_CHECKING:
    from flask import Flask

    from common.config import Settings
    from serving_layer.tls import Certificate

log = logging.getLogger(__name__)

BACKLOG = 1024
#: Connections at once; those that stall hold no thread.
CONNECTIONS = 4096
#: Milliseconds that a request's headers may take.
HEADER_MILLISECONDS = 10_000
#: Requests that may wait for each thread.
WAITING_PER_THREAD = 16
#: Bodies of the largest size that may be in memory at once.
LARGEST_BODIES = 4


class ServeError(RuntimeError):
    """The server cannot start; the text says why and what to do."""


@dataclass(frozen=True)
class Stopping:
    """How a server stops.

    Attributes
    ----------
    notice_seconds : float
        How long it still takes requests while ``/ready`` says 503, so that balancers turn away.
    drain_seconds : float
        How long requests that it has taken may last after that.
    """

    notice_seconds: float = 1.0
    drain_seconds: float = 10.0


class _Granian(Server):
    """Granian on a socket of ours.

    Its own would be shared with any other process that asks for the same port (SO_REUSEPORT):
    two serving layers would answer in turn and nobody would notice.  Workers of one share it.
    """

    def __init__(
        self, bridge: Bridge, bound: socket.socket, certificate: Certificate | None
    ) -> None:
        super().__init__(
            bridge,
            interface=Interfaces.ASGINL,
            http=HTTPModes.http1,
            http1_settings=HTTP1Settings(header_read_timeout=HEADER_MILLISECONDS),
            websockets=False,
            backlog=BACKLOG,
            backpressure=CONNECTIONS,
            log_level=LogLevels.error,
            log_dictconfig=_LOGGING,
            ssl_cert=certificate.file if certificate else None,
            ssl_key=certificate.key_file if certificate else None,
            ssl_key_password=certificate.password if certificate else None,
            ssl_protocol_min=SSLProtocols.tls12,
        )
        self._bound = bound
        self._shd: Any = None

    def _init_shared_socket(self) -> None:
        holder: Any = SocketHolder
        self._shd = holder(self._bound.detach(), False, BACKLOG)


#: Granian's messages go where all others go; below an error it tells what we tell ourselves, or
#: what does not hold here (the address that it would have bound).
_LOGGING: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "loggers": {"_granian": {"level": "ERROR", "propagate": True}},
}


def bind(host: str, port: int, authenticated: bool = False) -> socket.socket:
    """Listen on an address.

    Parameters
    ----------
    host : str
        ``serving.api.host``.
    port : int
        Port of HTTP or HTTPS; 0 takes a free one.
    authenticated : bool
        Whether who comes has to log in.

    Raises
    ------
    ServeError
        If others than this machine can reach the address without logging in, or it is not free.
    """
    _refuse_strangers(host, authenticated)
    bound = _socket(_family(host))
    with _told(bound, host, port):
        bound.bind((host, port))
        bound.listen(BACKLOG)
    return bound


def reserve(host: str, port: int, authenticated: bool = False) -> socket.socket:
    """Keep an address for workers, each of which listens there by :func:`join`.

    Takes and raises what :func:`bind` does.
    """
    _refuse_strangers(host, authenticated)
    bound = _socket(_family(host))
    with _told(bound, host, port):
        bound.bind((host, port))
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    # With it, others could bind the address while nobody listens.
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
    return bound


def join(reserved: socket.socket) -> socket.socket:
    """Listen on a reserved address; the system deals connections out to all who do.

    On one socket for all, whoever is awake takes all connections that come at once.
    """
    joined = _socket(reserved.family)
    joined.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    joined.bind(reserved.getsockname())
    joined.listen(BACKLOG)
    return joined


def _refuse_strangers(host: str, authenticated: bool) -> None:
    if not (authenticated or is_loopback(host)):
        message = (
            f"serving.api.host is {host!r}: whoever reaches it could read and write without "
            "logging in. Set serving.api.auth.file and add users (bin/gemsbok auth add NAME), "
            "or bind 127.0.0.1"
        )
        raise ServeError(message)


def _family(host: str) -> int:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


@contextmanager
def _told(bound: socket.socket, host: str, port: int) -> Iterator[None]:
    """Say why a socket cannot have an address."""
    try:
        yield
    except OSError as error:
        bound.close()
        raise ServeError(_why_not_bound(host, port, error)) from error


def _socket(family: int) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM)
    made.setblocking(False)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    return made


def _why_not_bound(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"port {port} on {host} is in use: stop what listens there "
            f'("ss -ltnp sport = :{port}" shows it) or set serving.api.port'
        )
    if error.errno == errno.EACCES:
        return f"port {port} needs privileges: set serving.api.port to 1024 or above"
    return f"cannot listen on {host}:{port}: {error.strerror}"


def limits(settings: Settings) -> Limits:
    """Return how much the server takes on, from the configuration."""
    api = settings.serving.api
    return Limits(
        threads=api.threads,
        body_bytes=api.max_body_bytes,
        waiting=WAITING_PER_THREAD * api.threads,
        held_bytes=LARGEST_BODIES * api.max_body_bytes,
    )


class HttpServer:
    """Serves one application on one bound socket until it is told to stop.

    Parameters
    ----------
    app : Flask
        From :func:`serving_layer.app.create_app`.
    bound : socket
        From :func:`bind` or :func:`join`.
    limits : Limits
        How much to take on.
    stopping : Stopping
        How to stop.
    certificate : Certificate, optional
        What HTTPS is served with, TLS 1.2 or newer; HTTP without one.
    """

    def __init__(
        self,
        app: Flask,
        bound: socket.socket,
        limits: Limits,
        stopping: Stopping = Stopping(),
        certificate: Certificate | None = None,
    ) -> None:
        self._draining = app.extensions["gemsbok"].draining
        refused = app.extensions["gemsbok-metrics"].refused
        self._bridge = Bridge(
            app,
            limits,
            on_refused=lambda code: refused.labels(code).inc(),
            context_path=app.extensions["gemsbok"].settings.serving.api.context_path,
        )
        self._bound = bound
        self._stopping = stopping
        self._certificate = certificate
        self.address = "{}:{}".format(*bound.getsockname()[:2])

    @property
    def in_flight(self) -> int:
        """Requests that have been taken and not yet answered."""
        return self._bridge.in_flight

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT, then finish what was accepted.

        Raises
        ------
        ServeError
            If the server ends by itself.
        """
        # A thread that hands over a result wakes this loop without letting go of Python's lock.
        uvloop.run(self._run())

    async def _run(self) -> None:
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        await self.serve(stop)

    async def serve(self, stop: asyncio.Event) -> None:
        """Do what :meth:`run` does, until `stop` is set."""
        loop = asyncio.get_running_loop()
        server = _Granian(self._bridge, self._bound, self._certificate)
        serving = loop.create_task(server.serve())
        log.info("listening on %s://%s", "https" if self._certificate else "http", self.address)
        stopped = loop.create_task(stop.wait())
        await asyncio.wait({serving, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if serving.done():
            message = "the HTTP server ended by itself; the lines above may say why"
            raise ServeError(message) from serving.exception()
        await self._stop(server, serving)

    async def _stop(self, server: _Granian, serving: asyncio.Task[None]) -> None:
        log.info("stopping: not ready from now on, %d requests to finish", self.in_flight)
        self._draining.set()
        await asyncio.sleep(self._stopping.notice_seconds)
        server.stop()  # type: ignore[no-untyped-call]
        done, _ = await asyncio.wait({serving}, timeout=self._stopping.drain_seconds)
        self._bridge.close()
        if not done:
            log.warning("stopped with %d requests unfinished", self.in_flight)
            serving.cancel()
        log.info("stopped")
