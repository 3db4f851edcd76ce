"""Which names the service answers to, and whose pages may write.

A page on the web can make its own name point at 127.0.0.1 (DNS rebinding) and so read from a
service on the reader's machine, and any page can post plain text to another site.  So the name
in ``Host`` must be one that is meant for us, and a write that a browser sends must come from a
page of ours.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from serving_layer.http.errors import ApiError

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

#: What most requests call us; other addresses of loopback are looked at more closely.
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach `host`."""
    try:
        return host == "localhost" or ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


class Hosts:
    """The names that a request may be meant for.

    Parameters
    ----------
    allowed : iterable of str
        Names without ports; none of them means loopback's names.
    any_name : bool
        Whether all names will do, where none is given: who logs in cannot be led here by a
        page of somebody else's.
    """

    def __init__(self, allowed: Iterable[str], any_name: bool) -> None:
        self._allowed = frozenset(name.lower() for name in allowed)
        self._any_name = any_name and not self._allowed

    def check(self, environ: WSGIEnvironment) -> None:
        """Check a request.

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
            sent_by = urlsplit(origin).netloc.lower()
        except ValueError:
            sent_by = ""
        if sent_by != host.lower() and _name(sent_by) not in self._allowed:
            message = f"a page of {origin[:100]!r} may not write here"
            raise ApiError(403, "cross_origin", message)


def _name(host: str) -> str:
    """Return the name in ``name:port``; IPv6 addresses keep their brackets."""
    head, colon, port = host.lower().rpartition(":")
    return head if colon and port.isdigit() else host.lower()
