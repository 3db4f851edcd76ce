"""What is left out changes no answer, and Flask still takes what is put in its place."""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType
from typing import Any

import pytest
from flask import Blueprint, Flask, Response, request, request_tearing_down, session
from flask.sansio.app import App
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound
from werkzeug.routing import MapAdapter, RequestRedirect
from werkzeug.test import EnvironBuilder

from serving_layer.http.lean import LeanFlask, LeanResponse, Route
from serving_layer.http.paths import use_segments

RULES = ("/a", "/a/<x>", "/a/all", "/a/<x>/b", "/b/<segments:x>", "/c/")


def app_with(*rules: str) -> LeanFlask:
    app = LeanFlask("test", static_folder=None)
    use_segments(app.url_map)
    for rule in rules:
        app.add_url_rule(rule, endpoint=rule, view_func=lambda **given: given)
    return app


def environ(path: str, method: str = "GET", host: str = "localhost") -> dict[str, Any]:
    return EnvironBuilder(path=path, method=method, headers={"Host": host}).get_environ()


def said(router: MapAdapter) -> object:
    """Rule and arguments, or the kind of error."""
    try:
        return router.match(return_rule=True)
    except HTTPException as error:
        return type(error)


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
@pytest.mark.parametrize(
    "path", ["/a", "/a/1%2F2", "/a/all", "/a/1/b", "/b/1/%C3%A9", "/c/", "/c", "/a/", "/d", "/"]
)
def test_a_route_is_what_the_router_says(path: str, method: str) -> None:
    app = app_with(*RULES)
    sent = environ(path, method)
    assert said(app.route_of(sent)) == said(app.url_map.bind_to_environ(sent))


def test_why_there_is_no_route_is_told() -> None:
    app = app_with(*RULES)
    kinds = [
        type(app.route_of(environ(path, method)).found)
        for path, method in [("/d", "GET"), ("/a", "POST"), ("/c", "GET")]
    ]
    assert kinds == [NotFound, MethodNotAllowed, RequestRedirect]


@pytest.mark.parametrize("host", ["localhost", "a..b", "[::1]:80", "\u00fc", "a" * 70])
def test_flask_takes_the_route_that_was_found(host: str) -> None:
    app = app_with(*RULES)
    sent = environ("/a/1", host=host)
    found = app.route_of(sent).found
    assert not isinstance(found, HTTPException)
    with app.request_context(sent):
        assert (request.url_rule, request.view_args) == found
        assert request.view_args is found[1]


def test_a_request_is_routed_once() -> None:
    app = app_with(*RULES)
    sent = environ("/a/1")
    route = app.route_of(sent)
    assert isinstance(route, Route)
    assert list(app.wsgi_app(sent, lambda *given: lambda data: None)) == [b'{"x":"1"}\n']
    assert app.route_of(sent) is route


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    "make",
    [
        lambda kind: kind("text", mimetype="text/plain"),
        lambda kind: kind("text", mimetype="text/plain", headers={"Location": "/elsewhere"}),
        lambda kind: kind("text", 404, mimetype="text/plain"),
        lambda kind: kind("", 204),
        lambda kind: kind(iter(["a", "b"]), mimetype="text/plain"),
        lambda kind: kind(["a", "b"], mimetype="text/plain"),
    ],
)
def test_a_reply_is_werkzeugs_and_what_is_added(
    make: Callable[[type[Response]], Response], method: str
) -> None:
    sent = environ("/", method)
    lean, plain = make(LeanResponse), make(Response)
    assert isinstance(lean, LeanResponse)
    lean.added = [("X-A", "b")]
    chunks, status, headers = lean.get_wsgi_response(sent)
    plain_chunks, plain_status, plain_headers = plain.get_wsgi_response(sent)
    assert (list(chunks), status) == (list(plain_chunks), plain_status)
    assert headers == [*plain_headers, ("X-A", "b")]


def test_what_waits_for_a_replys_end_is_called() -> None:
    ended: list[str] = []
    reply = LeanResponse("text", mimetype="text/plain")
    reply.call_on_close(lambda: ended.append("ended"))
    reply.get_wsgi_response(environ("/"))
    assert ended == ["ended"]


def test_sessions_take_nothing() -> None:
    app = app_with()
    with app.test_request_context("/"), pytest.raises(RuntimeError, match="session"):
        session["a"] = 1


def test_functions_are_called_as_they_are_unless_async() -> None:
    async def later() -> None:
        pass

    app = app_with()
    assert app.ensure_sync(environ) is environ
    with pytest.raises(RuntimeError, match="async"):
        app.ensure_sync(later)


@pytest.mark.parametrize("of_blueprint", [False, True])
def test_what_comes_before_and_after_a_route_is_called(of_blueprint: bool) -> None:
    app = app_with()
    routes = Blueprint("routes", __name__)
    routes.add_url_rule("/a/<x>", view_func=lambda x: called.append(x) or "view")
    called: list[str] = []
    hooked = routes if of_blueprint else app
    app.before_request(lambda: called.append("first"))
    hooked.before_request(lambda: called.append("second"))
    hooked.before_request(lambda: "enough" if request.args else None)
    hooked.teardown_request(lambda error: called.append("end"))
    app.register_blueprint(routes)
    assert app.test_client().get("/a/1").text == "view"
    assert called == ["first", "second", "1", "end"]
    called.clear()
    assert app.test_client().get("/a/1?b").text == "enough"
    assert called == ["first", "second", "end"]


def test_who_listens_for_a_requests_end_is_told() -> None:
    app = app_with("/a")
    told: list[object] = []
    with request_tearing_down.connected_to(lambda sender, **given: told.append(sender), app):
        app.test_client().get("/a")
    assert told == [app]


@pytest.mark.parametrize(
    "name", [name for name, value in vars(LeanFlask).items() if isinstance(value, FunctionType)]
)
def test_flask_still_has_what_is_overridden(name: str) -> None:
    own = {"route_of"}
    assert (name in vars(Flask) | vars(App)) == (name not in own)
