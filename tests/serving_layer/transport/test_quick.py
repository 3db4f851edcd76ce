"""Quick requests are answered while no thread is free; all others wait for one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event
from typing import Any

import httpx
import pytest

from common.runtime.configuration import load
from serving_layer.http.lean import LeanFlask
from serving_layer.run.app import create_app
from serving_layer.transport.environ import environ_of
from serving_layer.transport.quick import ACCEPT_BYTES, HEADER_BYTES, PATH_BYTES, is_quick
from tests.serving_layer.held import Held


def covered(app: LeanFlask, path: str, **changes: Any) -> bool:
    """Whether a GET, or what `changes` make of it, is quick."""
    scope = {
        "method": "GET",
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [],
        "http_version": "1.1",
        "scheme": "http",
        "server": ("127.0.0.1", "80"),
        "client": ("127.0.0.1", "1024"),
        **changes,
    }
    return is_quick(app, scope, environ_of(scope))


@contextmanager
def no_thread_free(served: Any, run: Callable[..., Any]) -> Iterator[str]:
    """Give a server's address while its only thread is busy and no request may wait."""
    begun, over = Event(), Event()

    def hold() -> str:
        begun.set()
        over.wait(60)
        return "done"

    served.app.add_url_rule("/hold", view_func=hold)
    server = run(served.app, threads=1, waiting=0)
    address = f"http://{server.host}:{server.port}"
    with ThreadPoolExecutor(1) as pool:
        held = pool.submit(httpx.get, f"{address}/hold", timeout=60)
        try:
            assert begun.wait(30)
            yield address
        finally:
            over.set()
        assert held.result().text == "done"


@pytest.mark.parametrize(
    ("path", "changes", "quick"),
    [
        ("/echo/a", {}, True),
        ("/echo/a%2Fb", {}, True),
        ("/echo/a", {"method": "HEAD"}, True),
        ("/echo/a", {"headers": [(b"accept", b"application/json")]}, True),
        ("/livez", {}, True),
        ("/echo/a", {"method": "POST"}, False),
        ("/echo/a", {"method": "OPTIONS"}, False),
        ("/echo/a/b", {}, False),
        ("/%65cho/a", {}, True),
        ("/slow/0", {}, False),
        ("/echoes/a", {}, False),
        ("/", {}, False),
        ("*", {}, False),
        ("", {}, False),
        ("/echo/" + "a" * PATH_BYTES, {}, False),
        ("/echo/a", {"query_string": b"a" * PATH_BYTES}, False),
        ("/echo/a", {"headers": [(b"accept", b"a/b") for _ in range(ACCEPT_BYTES)]}, False),
        ("/echo/a", {"headers": [(b"cookie", b"a" * HEADER_BYTES)]}, False),
    ],
)
def test_what_is_quick(served: Any, path: str, changes: dict[str, Any], quick: bool) -> None:
    assert covered(served.app, path, **changes) == quick


def test_quick_paths_lie_under_the_context_path(serve: Callable[..., Any]) -> None:
    app = serve(serving__api__context_path="/models/a").app
    assert covered(app, "/models/a/echo/x")
    for outside in ("/echo/x", "/models/aecho/x", "/models/a", "/models/ab/echo/x"):
        assert not covered(app, outside)


def test_a_path_that_another_route_takes_is_not_quick(served: Any) -> None:
    served.app.add_url_rule("/echo/all", view_func=lambda: "all", endpoint="all")
    assert not covered(served.app, "/echo/all")
    assert covered(served.app, "/echo/a")


@pytest.mark.parametrize("family", ["als", "wordcount"])
def test_only_what_looks_something_up_is_quick(family: str) -> None:
    app = create_app(load(flags={"app": family}, environment={}), Held(), None)
    rules = [rule.rule for rule in app.url_map.iter_rules()]
    found = {rule for rule in rules if covered(app, rule)}
    always = {"/livez", "/ready", "/readyz", "/version"}
    assert found == always | ({"/distinct/<word>"} if family == "wordcount" else set())
    assert len(rules) > len(found)


@pytest.mark.parametrize("path", ["/livez", "/ready", "/readyz", "/version", "/echo/a"])
def test_a_quick_request_needs_no_thread(served: Any, run: Callable[..., Any], path: str) -> None:
    with no_thread_free(served, run) as address:
        assert httpx.get(f"{address}{path}", timeout=60).status_code == 200
        assert httpx.head(f"{address}{path}", timeout=60).status_code == 200


def test_other_requests_need_one(served: Any, run: Callable[..., Any]) -> None:
    with no_thread_free(served, run) as address:
        for method, path, body in [
            ("GET", "/echoes/a", b""),
            ("GET", "/echo/a", b"body"),
            ("POST", "/echo/a", b""),
        ]:
            reply = httpx.request(method, f"{address}{path}", content=body, timeout=60)
            assert (reply.status_code, reply.json()["error"]["code"]) == (503, "overloaded")


def test_a_quick_request_is_checked_like_any(served: Any, run: Callable[..., Any]) -> None:
    server = run(served.app)
    for path in ("/ready", "/echo/a"):
        two_hosts = f"GET {path} HTTP/1.1\r\nHost: a\r\nHost: b\r\nConnection: close\r\n\r\n"
        assert server.exchange(two_hosts.encode())[0] == 400
    address = f"http://{server.host}:{server.port}"
    reply = httpx.get(f"{address}/echo/a", headers={"Host": "elsewhere"}, timeout=60)
    assert (reply.status_code, reply.json()["error"]["code"]) == (421, "wrong_host")
    reply = httpx.get(f"{address}/echo/a?howmany=1", timeout=60)
    assert (reply.status_code, reply.json()["error"]["code"]) == (400, "bad_parameter")
