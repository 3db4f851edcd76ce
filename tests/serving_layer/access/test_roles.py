"""Every route, asked by nobody and by each role."""

from __future__ import annotations

import re

import httpx

from serving_layer.access.roles import role_of
from tests.serving_layer.access.conftest import Guarded

ROLES = ("read", "ingest", "admin")


def requests(guarded: Guarded) -> list[tuple[str, str, str]]:
    """Method, path and role of every route."""
    app = guarded.served.app
    found = []
    for rule in app.url_map.iter_rules():
        path = re.sub(r"<[^>]+>", "x", rule.rule)
        view = app.view_functions[rule.endpoint]
        methods = sorted((rule.methods or set()) - {"HEAD", "OPTIONS"})
        found += [(method, path, role_of(view, method)) for method in methods]
    return found


def asked(guarded: Guarded, method: str, path: str, name: str | None) -> httpx.Response:
    headers = guarded.people.token(name) if name else {}
    return guarded.client.request(method, path, headers=headers)


def test_s14_every_route_for_every_role(guarded: Guarded) -> None:
    routes = requests(guarded)
    assert len(routes) > 30
    for method, path, role in routes:
        for name in (None, *ROLES):
            status = asked(guarded, method, path, name).status_code
            if role == "open" or name in (role, "admin"):
                assert status not in (401, 403, 429), (method, path, name)
            else:
                assert status == (401 if name is None else 403), (method, path, name)


def test_s14_what_is_open_and_what_is_for_administrators(guarded: Guarded) -> None:
    roles = {path: role for _, path, role in requests(guarded)}
    assert {path for path, role in roles.items() if role == "open"} == {
        "/livez",
        "/ready",
        "/readyz",
    }
    assert {path for path, role in roles.items() if role == "admin"} == {"/status"}
    assert roles["/ingest"] == roles["/pref/x/x"] == "ingest"
    assert roles["/recommend/x"] == roles["/model.pmml"] == roles["/metrics"] == "read"


def test_strangers_do_not_learn_what_exists(guarded: Guarded) -> None:
    for path in ("/nothing", "/recommend//x", "/recommend/%zz"):
        assert guarded.client.get(path).status_code == 401
    assert guarded.client.put("/recommend/x").status_code == 401
    assert guarded.get("/nothing", "ingest").status_code == 404
