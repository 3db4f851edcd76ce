"""Flask without the work that a small request has no use for.

That is a good part of what such a request costs: see ``benchmarks/http_overhead.py``.  A
request, a reply or a view that is out of the ordinary goes Flask's own way.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any

from flask import Flask, Request, Response
from flask.sessions import NullSession, SessionInterface
from werkzeug.routing import MapAdapter
from werkzeug.wsgi import ClosingIterator

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

#: Hosts of which nothing has to be checked or encoded: labels of letters, digits and dashes.
_PLAIN_HOST = re.compile(r"[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63})*(?::[0-9]{1,5})?")

#: Headers of a reply that is sent as it is.
_ORDINARY = {"Content-Type", "Content-Length"}

#: Flask's question about each function that it calls, answered once for each of them.
_is_async = lru_cache(maxsize=1024)(iscoroutinefunction)


class LeanResponse(Response):
    """A reply to which headers are added at the very end.

    Attributes
    ----------
    added : sequence of (str, str)
        Headers that no route sets; they skip the checks of those that routes set.
    """

    added: Sequence[tuple[str, str]] = ()

    def get_wsgi_response(
        self, environ: WSGIEnvironment
    ) -> tuple[Iterable[bytes], str, list[tuple[str, str]]]:
        """Return body, status and headers."""
        if environ["REQUEST_METHOD"] != "HEAD" and self._is_ordinary():
            headers = [*self.headers, *self.added]
            return ClosingIterator(self.iter_encoded(), self.close), self.status, headers
        body, status, headers = super().get_wsgi_response(environ)
        return body, status, [*headers, *self.added]

    def _is_ordinary(self) -> bool:
        """Whether no header has to be made, corrected or left out."""
        return (
            self.status_code == 200
            and self.is_sequence
            and {name for name, _ in self.headers} == _ORDINARY
        )


class LeanFlask(Flask):
    """Flask without sessions, and without what it finds out anew for each request."""

    response_class = LeanResponse

    def __init__(self, *args: Any, **keywords: Any) -> None:
        super().__init__(*args, **keywords)
        self.session_interface = _NoSessions()

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function that is called without ``await``: itself, but for ``async`` ones."""
        return self.async_to_sync(func) if _is_async(func) else func

    def create_url_adapter(self, request: Request | None) -> MapAdapter | None:
        """Bind the routes to a request; which of them it matches does not depend on its host."""
        if request is None:
            return super().create_url_adapter(request)
        host = request.environ.get("HTTP_HOST", "")
        if not _PLAIN_HOST.fullmatch(host):
            return super().create_url_adapter(request)
        return MapAdapter(
            self.url_map,
            server_name=host,
            script_name=request.root_path,
            subdomain="",
            url_scheme=request.scheme,
            path_info=request.path,
            default_method=request.method,
            query_args=request.environ["QUERY_STRING"],
        )


class _NoSessions(SessionInterface):
    """One session for all requests, which refuses whatever is put into it."""

    def __init__(self) -> None:
        self._none = NullSession()

    def open_session(self, app: Flask, request: Request) -> NullSession:
        return self._none
