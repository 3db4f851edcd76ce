"""The sockets that requests come in by: one listener, or one for each worker."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from serving_layer.access.hosts import is_loopback

BACKLOG = 1024


class ServeError(RuntimeError):
    """The server cannot start; the text says why and what to do."""


def bind(host: str, port: int, authenticated: bool = False) -> socket.socket:
    """Listen on an address.

    Parameters
    ----------
    host : str
        ``serving.api.host``.
    port : int
        Port of HTTP or HTTPS; 0 takes a free one.
    authenticated : bool
        Whether clients have to log in.

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

    With one socket for all, the worker that is awake takes every connection that comes at once.
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
