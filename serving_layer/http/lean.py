"""Flask without the work that a small request has no use for.

That is a good part of what such a request costs: see ``benchmarks/http_overhead.py``.  A
request, a reply or a view that is out of the ordinary goes Flask's own way.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property, lru_cache
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any

from flask import Flask, Request, Response, request_tearing_down
from flask.sessions import NullSession, SessionInterface
from werkzeug.routing import MapAdapter

from serving_layer.http.shapes import Shapes

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment
    from flask.typing import ResponseReturnValue

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
            return list(self.iter_encoded()), self.status, [*self.headers, *self.added]
        body, status, headers = super().get_wsgi_response(environ)
        return body, status, [*headers, *self.added]

    def _is_ordinary(self) -> bool:
        """Whether no header has to be made, corrected or left out, and nothing closed."""
        return (
            self.status_code == 200
            and self.is_sequence
            and not self._on_close
            and {name for name, _ in self.headers} == _ORDINARY
        )


class LeanRequest(Request):
    """A request that closes files only where it has some."""

    def close(self) -> None:
        """Close the files of a form that was read."""
        if "files" in self.__dict__:
            super().close()


class LeanFlask(Flask):
    """Flask without sessions, and without what it finds out anew for each request."""

    request_class = LeanRequest
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
        return _Adapter(
            self.shapes,
            self.url_map,
            server_name=host,
            script_name=request.root_path,
            subdomain="",
            url_scheme=request.scheme,
            path_info=request.path,
            default_method=request.method,
            query_args=request.environ["QUERY_STRING"],
        )

    @cached_property
    def shapes(self) -> Shapes:
        """The rules that are told by their shape; to be asked for when all have been added."""
        return Shapes(self.url_map.iter_rules())

    def preprocess_request(self) -> ResponseReturnValue | None:
        """Call what comes before each route; return the first reply that one of them makes."""
        if self.url_value_preprocessors or self.before_request_funcs.keys() != {None}:
            # A blueprint has hooks of its own.
            return super().preprocess_request()
        for before in self.before_request_funcs[None]:
            reply: ResponseReturnValue | None = self.ensure_sync(before)()
            if reply is not None:
                return reply
        return None

    def do_teardown_request(self, *args: Any, **keywords: Any) -> None:
        """Call what waits for the end of each request, where anything does."""
        if self.teardown_request_funcs or request_tearing_down.receivers:
            super().do_teardown_request(*args, **keywords)


class _Adapter(MapAdapter):
    """The routes bound to a request, which looks first at what is told by its path's shape."""

    def __init__(self, shapes: Shapes, *args: Any, **keywords: Any) -> None:
        super().__init__(*args, **keywords)
        self._shapes = shapes

    def match(self, *args: Any, **keywords: Any) -> Any:
        """Return what matches the request, as Flask asks for it; others ask the router."""
        found = None
        if not args and keywords == {"return_rule": True}:
            found = self._shapes.match(self.path_info, self.default_method)
        return super().match(*args, **keywords) if found is None else found


class _NoSessions(SessionInterface):
    """One session for all requests, which refuses whatever is put into it."""

    def __init__(self) -> None:
        self._none = NullSession()

    def open_session(self, app: Flask, request: Request) -> NullSession:
        return self._none
