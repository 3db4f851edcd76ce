"""What pages of others can do by a browser: nothing; and what pages of ours allow."""

from __future__ import annotations

import re
from collections.abc import Callable

import httpx
import pytest

from tests.serving_layer.bad_input.conftest import AlsServer

CSV = {"Content-Type": "text/plain"}


def ask(server: AlsServer, method: str, path: str, **headers: str) -> httpx.Response:
    url = f"http://{server.running.host}:{server.running.port}{path}"
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    body = b"u,i,1,7\n" if method == "POST" else None
    return httpx.request(method, url, headers={**CSV, **given}, content=body, timeout=30)


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8080", "127.0.0.1.evil.example"])
def test_s27_a_foreign_name_that_points_here_is_refused(als_server: AlsServer, host: str) -> None:
    for method, path in (("GET", "/recommend/U0"), ("POST", "/ingest"), ("GET", "/nothing")):
        reply = ask(als_server, method, path, Host=host)
        assert (reply.status_code, reply.json()["error"]["code"]) == (421, "wrong_host")
    assert ask(als_server, "GET", "/readyz", Host=host).status_code == 200
    assert als_server.arrived() == []


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:80", "127.0.0.1:1", "[::1]:8080", "[::1]"]
)
def test_s27_loopback_has_several_names(als_server: AlsServer, host: str) -> None:
    assert ask(als_server, "GET", "/recommend/U0", Host=host).status_code == 200


def test_s27_names_can_be_allowed(als_serving: Callable[..., AlsServer]) -> None:
    server = als_serving(serving__api__allowed_hosts=["api.example"])
    assert ask(server, "GET", "/recommend/U0", Host="api.example:443").status_code == 200
    assert ask(server, "GET", "/recommend/U0", Host="localhost").status_code == 421
    page = {"Host": "internal", "Origin": "https://api.example"}
    assert ask(server, "POST", "/ingest", **page).status_code == 421
    page["Host"] = "api.example"
    assert ask(server, "POST", "/ingest", **page).status_code == 204


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://localhost:1", "http://["]
)
def test_s27_a_foreign_page_cannot_write(als_server: AlsServer, origin: str) -> None:
    reply = ask(als_server, "POST", "/ingest", Origin=origin, Host="localhost")
    assert (reply.status_code, reply.json()["error"]["code"]) == (403, "cross_origin")
    assert als_server.arrived() == []


def test_s27_our_own_page_can(als_server: AlsServer) -> None:
    own = f"{als_server.running.host}:{als_server.running.port}"
    assert ask(als_server, "POST", "/ingest", Origin=f"http://{own}").status_code == 204
    assert len(als_server.arrived()) == 1


def test_s27_no_page_is_given_leave_to_read(als_server: AlsServer) -> None:
    for method in ("GET", "OPTIONS"):
        reply = ask(als_server, method, "/recommend/U0", Origin="https://evil.example")
        assert not [name for name in reply.headers if name.startswith("access-control")]


def test_s27_a_failure_shows_no_traceback(als_serving: Callable[..., AlsServer]) -> None:
    server = als_serving()
    server.served.app.extensions["gemsbok"].current.model = object()
    reply = ask(server, "GET", "/recommend/U0")
    assert reply.status_code == 500
    assert not re.search(r"Traceback|File \"|\.py", reply.text)
    assert not server.served.app.debug


def test_s09_pages_carry_a_policy_and_escape_ids(als_server: AlsServer) -> None:
    for path in ("/", "/recommend/%3Cscript%3Ealert(1)%3C%2Fscript%3E"):
        reply = ask(als_server, "GET", path, Accept="text/html")
        assert reply.headers["content-type"].startswith("text/html")
        assert "default-src 'none'" in reply.headers["content-security-policy"]
        assert "unsafe" not in reply.headers["content-security-policy"]
        assert reply.headers["x-content-type-options"] == "nosniff"
        assert reply.headers["referrer-policy"] == "no-referrer"
        assert "<script>alert" not in reply.text
