"""Checks the ``Host`` and ``Origin`` headers, against DNS rebinding and cross-site requests.

A web page can make its own name resolve to 127.0.0.1 (DNS rebinding) and so read from a service
on the visitor's machine, and any page can post plain text to another site.  Therefore the name
in ``Host`` must be one of this service's names, and a browser's write must come from a page of
this service.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from serving_layer.http.errors import ApiError

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

#: The usual names of loopback; other loopback addresses are parsed.
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach `host`."""
    try:
        return host == "localhost" or ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


class Hosts:
    """The host names of the service.

    Parameters
    ----------
    allowed : iterable of str
        Names without ports; if it is empty, the names of loopback.
    any_name : bool
        Whether every name is accepted if `allowed` is empty.  This is safe with authentication,
        because a foreign page has no credentials.
    """

    def __init__(self, allowed: Iterable[str], any_name: bool) -> None:
        self._allowed = frozenset(name.lower() for name in allowed)
        self._any_name = any_name and not self._allowed

    def check(self, environ: WSGIEnvironment) -> None:
        """Check host and origin of a request.

        Parameters
        ----------
        environ : WSGI environ
            The request.

        Raises
        ------
        ApiError
            421 ``wrong_host``, or 403 ``cross_origin`` for a write.
        """
        host = environ.get("HTTP_HOST", "")
        name = _name(host)
        # HTTP/1.0 has no name.
        if not (
            self._any_name
            or not name
            or name in (self._allowed or _LOOPBACK)
            or (not self._allowed and is_loopback(name))
        ):
            message = (
                f"the request is for {host[:100]!r}: name it in serving.api.allowed_hosts if "
                "this service is meant"
            )
            raise ApiError(421, "wrong_host", message)
        origin = environ.get("HTTP_ORIGIN")
        if origin is not None and environ["REQUEST_METHOD"] not in _SAFE:
            self._check_origin(origin, host)

    def _check_origin(self, origin: str, host: str) -> None:
        try:
            page_host = urlsplit(origin).netloc.lower()
        except ValueError:
            page_host = ""
        if page_host != host.lower() and _name(page_host) not in self._allowed:
            message = f"a page of {origin[:100]!r} may not write here"
            raise ApiError(403, "cross_origin", message)


def _name(host: str) -> str:
    """Return the name in ``name:port``; IPv6 addresses keep their brackets."""
    head, colon, port = host.lower().rpartition(":")
    return head if colon and port.isdigit() else host.lower()
