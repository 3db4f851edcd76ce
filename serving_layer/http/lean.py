"""Flask whose router is asked once, without the work that a small request has no use for.

Each of the short cuts saves 2 to 3 of such a request's 65 microseconds, sent replies 6; without
them it takes more than the 1.5 times of a bare Flask route that it may
(``benchmarks/http_overhead.py``).  All of them override methods that Flask and Werkzeug document.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any

from flask import Flask, Request, Response, request_tearing_down
from flask.sessions import NullSession, SessionInterface
from werkzeug.exceptions import HTTPException
from werkzeug.routing import Map, MapAdapter, Rule

from serving_layer.http.paths import read_path

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment
    from flask.typing import ResponseReturnValue

#: Where the environ of a request has its :class:`Route`.
ROUTE = "gemsbok.route"

#: Flask's question about each function that it calls, answered once for each of them.
_is_async = lru_cache(maxsize=1024)(iscoroutinefunction)

#: Headers of a reply that is sent as it is.
_ORDINARY = {"Content-Type", "Content-Length"}


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
            body = list(self.iter_encoded())
            self.close()
            return body, self.status, [*self.headers, *self.added]
        chunks, status, headers = super().get_wsgi_response(environ)
        return chunks, status, [*headers, *self.added]

    def _is_ordinary(self) -> bool:
        """Whether the body is whole, and no header has to be made, corrected or left out."""
        return (
            self.status_code == 200
            and self.is_sequence
            and {name for name, _ in self.headers} == _ORDINARY
        )


class Route(MapAdapter):
    """What the router says of one request; which host it is for makes no difference to it.

    Attributes
    ----------
    found : (Rule, mapping) or HTTPException
        The rule with what it gives the view, or why there is none.
    """

    found: tuple[Rule, Mapping[str, Any]] | HTTPException

    def __init__(self, url_map: Map, environ: WSGIEnvironment) -> None:
        super().__init__(
            url_map,
            server_name="localhost",
            script_name="/",
            subdomain="",
            url_scheme="http",
            path_info=environ["PATH_INFO"].encode("latin-1").decode(),
            default_method=environ["REQUEST_METHOD"],
        )
        try:
            self.found = super().match(return_rule=True)
        except HTTPException as error:
            self.found = error

    def match(self, *args: Any, **keywords: Any) -> Any:
        """Return or raise what was found, as Flask asks for it; others ask the router."""
        if args or keywords != {"return_rule": True}:
            return super().match(*args, **keywords)
        if isinstance(self.found, HTTPException):
            raise self.found
        return self.found


class _NoSessions(SessionInterface):
    """One session for all requests, which refuses whatever is put into it."""

    def __init__(self) -> None:
        self._none = NullSession()

    def open_session(self, app: Flask, request: Request) -> NullSession:
        return self._none


class LeanFlask(Flask):
    """Flask without sessions that routes a request by its path as it was sent, once.

    Parameters
    ----------
    context_path : str
        The path under which all routes lie.
    *args, **keywords
        Flask's.
    """

    response_class = LeanResponse
    session_interface = _NoSessions()

    def __init__(self, *args: Any, context_path: str = "/", **keywords: Any) -> None:
        super().__init__(*args, **keywords)
        self._context_path = context_path

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function that is called without ``await``: itself, but for ``async`` ones."""
        return self.async_to_sync(func) if _is_async(func) else func

    def route_of(self, environ: WSGIEnvironment) -> Route:
        """Return the route of a request, found when it is first asked for."""
        route: Route | None = environ.get(ROUTE)
        if route is None:
            read_path(environ, self._context_path)
            route = environ[ROUTE] = Route(self.url_map, environ)
        return route

    def wsgi_app(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request."""
        self.route_of(environ)
        return super().wsgi_app(environ, start_response)

    def create_url_adapter(self, request: Request | None) -> MapAdapter | None:
        """Return the request's route, for Flask's own use of the router."""
        if request is None:
            return super().create_url_adapter(request)
        return self.route_of(request.environ)

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
