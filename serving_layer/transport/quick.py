"""Which requests are answered on the event loop: those that are done sooner than handed over.

To hand a request to a thread and take its reply back costs as much as a small request itself,
on two cores even for the clients.  So a route that says so of itself
(:func:`serving_layer.http.describe.describe`) is answered at once, where also all else about the
request is small: it has no body and few bytes to be read.  Probes of health are such routes, and
so are answered however many requests are being computed or wait.

A route may be so at times: a recommendation is, where an inverted file gives it.  There threads
would contend for Python's lock, which they let go of at each step of such an answer.
"""

from __future__ import annotations

from collections.abc import Callable, MutableMapping, Sequence
from typing import TYPE_CHECKING, Any

from serving_layer.http.describe import description_of
from serving_layer.http.shapes import Shapes

if TYPE_CHECKING:
    from flask import Flask

    from serving_layer.request.context import ModelSource

_METHODS = ("GET", "HEAD")
#: Bytes up to which they are quickly read: path and query, the headers, and those of ``Accept``,
#: among whose media types to choose takes as long as to read a hundred times as much of others.
PATH_BYTES = 512
HEADER_BYTES = 4096
ACCEPT_BYTES = 64


class Quick:
    """The quick routes of one application.

    A path counts as it was sent: one whose first segment has escapes takes a thread, and so
    does one on which another route has a claim (:mod:`serving_layer.http.shapes`).

    Parameters
    ----------
    app : Flask
        With all of its routes.
    context_path : str
        The path under which all routes lie.
    """

    def __init__(self, app: Flask, context_path: str) -> None:
        self._prefix = context_path.rstrip("/").encode()
        self._current: ModelSource = app.extensions["gemsbok"].current
        self._shapes = {
            (first.encode(), count): described.quick
            for (first, count), rule in Shapes(app.url_map.iter_rules())
            if (described := description_of(app.view_functions[rule.endpoint])) and described.quick
        }

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
        if before or not segments:
            return False
        quick = self._shapes.get((segments[0], len(segments)), False)
        if not quick or not _are_short(scope["headers"]):
            return False
        if not callable(quick):
            return True
        return not scope["query_string"] and self._is_now(quick, segments[1:])

    def _is_now(self, quick: Callable[..., bool], segments: Sequence[bytes]) -> bool:
        model = self._current.model
        if model is None or any(b"%" in segment for segment in segments):
            return False
        return quick(model, *[segment.decode("latin-1") for segment in segments])


def _are_short(headers: Sequence[tuple[bytes, bytes]]) -> bool:
    accept = sum([len(value) for name, value in headers if name == b"accept"])
    every = sum([len(name) + len(value) for name, value in headers])
    return accept <= ACCEPT_BYTES and every <= HEADER_BYTES
