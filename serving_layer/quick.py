"""Which requests are answered on the event loop: those that are done sooner than handed over.

To hand a request to a thread and take its reply back costs as much as a small request itself,
on two cores even for the clients.  So a route that says so of itself
(:func:`serving_layer.describe.describe`) is answered at once, where also all else about the
request is small: it has no body and few bytes to be read.  Probes of health are such routes, and
so are answered however many requests are being computed or wait.
"""

from __future__ import annotations

from collections.abc import MutableMapping, Sequence
from typing import TYPE_CHECKING, Any

from serving_layer.describe import description_of
from serving_layer.shapes import Shapes

if TYPE_CHECKING:
    from flask import Flask

_METHODS = ("GET", "HEAD")
#: Bytes up to which they are quickly read: path and query, the headers, and those of ``Accept``,
#: among whose media types to choose takes as long as to read a hundred times as much of others.
PATH_BYTES = 512
HEADER_BYTES = 4096
ACCEPT_BYTES = 64


class Quick:
    """The quick routes of one application.

    A path counts as it was sent: one whose first segment has escapes takes a thread, and so
    does one on which another route has a claim (:mod:`serving_layer.shapes`).

    Parameters
    ----------
    app : Flask
        With all of its routes.
    context_path : str
        The path under which all routes lie.
    """

    def __init__(self, app: Flask, context_path: str) -> None:
        self._prefix = context_path.rstrip("/").encode()
        self._shapes = frozenset(
            (first.encode(), count)
            for (first, count), rule in Shapes(app.url_map.iter_rules())
            if (described := description_of(app.view_functions[rule.endpoint])) and described.quick
        )

    def covers(self, scope: MutableMapping[str, Any]) -> bool:
        """Whether a request without a body, by its ASGI scope, may be answered at once."""
        path: bytes = scope["raw_path"]
        if (
            scope["method"] not in _METHODS
            or len(path) + len(scope["query_string"]) > PATH_BYTES
            or not path.startswith(self._prefix)
        ):
            return False
        before, *segments = path[len(self._prefix) :].split(b"/")
        if before or not segments or (segments[0], len(segments)) not in self._shapes:
            return False
        return _are_short(scope["headers"])


def _are_short(headers: Sequence[tuple[bytes, bytes]]) -> bool:
    accept = sum([len(value) for name, value in headers if name == b"accept"])
    every = sum([len(name) + len(value) for name, value in headers])
    return accept <= ACCEPT_BYTES and every <= HEADER_BYTES
