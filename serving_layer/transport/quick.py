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

from collections.abc import MutableMapping, Sequence
from typing import TYPE_CHECKING, Any

from werkzeug.exceptions import HTTPException

from serving_layer.http.describe import description_of

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

    from serving_layer.http.lean import LeanFlask
    from serving_layer.request.context import ModelSource

_METHODS = ("GET", "HEAD")
#: Bytes up to which they are quickly read: path and query, the headers, and those of ``Accept``,
#: among whose media types to choose takes as long as to read a hundred times as much of others.
PATH_BYTES = 512
HEADER_BYTES = 4096
ACCEPT_BYTES = 64


def is_quick(app: LeanFlask, scope: MutableMapping[str, Any], environ: WSGIEnvironment) -> bool:
    """Whether a request without a body may be answered at once.

    Parameters
    ----------
    app : LeanFlask
        With all of its routes.
    scope, environ : mapping
        The request, as ASGI and as WSGI have it.
    """
    if (
        scope["method"] not in _METHODS
        or len(scope["raw_path"]) + len(scope["query_string"]) > PATH_BYTES
        or not _are_short(scope["headers"])
    ):
        return False
    found = app.route_of(environ).found
    if isinstance(found, HTTPException):
        return False
    rule, arguments = found
    described = description_of(app.view_functions[rule.endpoint])
    quick = described is not None and described.quick
    if not callable(quick):
        return quick
    current: ModelSource = app.extensions["gemsbok"].current
    model = current.model
    return not scope["query_string"] and model is not None and quick(model, *arguments.values())


def _are_short(headers: Sequence[tuple[bytes, bytes]]) -> bool:
    accept = sum([len(value) for name, value in headers if name == b"accept"])
    every = sum([len(name) + len(value) for name, value in headers])
    return accept <= ACCEPT_BYTES and every <= HEADER_BYTES
