"""The HTTP server: granian in this process, its lifetime, and how it stops."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import uvloop
from granian.constants import HTTPModes, Interfaces, SSLProtocols
from granian.http import HTTP1Settings
from granian.log import LogLevels
from granian.net import SocketHolder  # type: ignore[attr-defined]
from granian.server.embed import Server

from serving_layer.transport.bridge import Bridge, Limits
from serving_layer.transport.sockets import BACKLOG, ServeError

if TYPE_CHECKING:
    from common.config import Settings
    from serving_layer.http.lean import LeanFlask
    from serving_layer.transport.tls import Certificate

log = logging.getLogger(__name__)

#: Connections at once; those that stall hold no thread.
CONNECTIONS = 4096
#: Milliseconds that a request's headers may take.
HEADER_MILLISECONDS = 10_000
#: Requests that may wait for each thread.
WAITING_PER_THREAD = 16
#: Bodies of the largest size that may be in memory at once.
LARGEST_BODIES = 4


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
    app : LeanFlask
        From :func:`serving_layer.run.app.create_app`.
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
        app: LeanFlask,
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
