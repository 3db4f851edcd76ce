"""Tokens and passwords: the right ones open, and nothing else does."""

from __future__ import annotations

import hashlib
import logging
import os
import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from flask.testing import FlaskClient

from common.config import ConfigError
from common.config.credentials import write_users
from serving_layer.access.users import Users
from serving_layer.transport.sockets import ServeError, bind
from tests.serving_layer.access.conftest import Guarded, People, code
from tests.serving_layer.apps.als.fixture import from_files, serve


def digest(guarded: Guarded, **changes: str) -> dict[str, str]:
    """An Authorization header for ``GET /recommend/U0``, with some of its parts changed."""
    challenge = guarded.client.get("/recommend/U0").headers["WWW-Authenticate"]
    nonce = changes.pop("nonce", "") or re.findall(r'nonce="([^"]+)"', challenge)[0]
    parts = {
        "username": "ada",
        "realm": "gemsbok",
        "nonce": nonce,
        "uri": "/recommend/U0",
        "qop": "auth",
        "nc": "00000001",
        "cnonce": "c",
        "algorithm": "SHA-256",
        "password": guarded.people.secrets["ada"],
        **changes,
    }

    def h(text: str) -> str:
        name = parts["algorithm"].replace("-", "").lower()
        return hashlib.new(name, text.encode()).hexdigest()

    ha1 = h(f"{parts['username']}:{parts['realm']}:{parts.pop('password')}")
    ha2 = h(f"GET:{parts['uri']}")
    middle = ":".join(parts[name] for name in ("nonce", "nc", "cnonce", "qop"))
    parts["response"] = h(f"{ha1}:{middle}:{ha2}")
    return {"Authorization": "Digest " + ", ".join(f'{k}="{v}"' for k, v in parts.items())}


def ask(guarded: Guarded, headers: dict[str, str]) -> httpx.Response:
    return guarded.client.get("/recommend/U0", headers=headers)


def test_a_token_opens(guarded: Guarded) -> None:
    assert guarded.get("/recommend/U0", "read").status_code == 200
    assert guarded.ingest("u,i", "ingest").status_code == 204
    assert len(guarded.served.sent()) == 1


@pytest.mark.parametrize(
    "given",
    ["Bearer wrong", "bearer", "Basic YTpi", "Negotiate x", "Digest", "x" * 1000],
)
def test_other_credentials_do_not(guarded: Guarded, given: str) -> None:
    reply = ask(guarded, {"Authorization": given})
    assert code(reply) == (401, "unauthorized")
    assert reply.headers["WWW-Authenticate"].startswith("Digest ")


def test_the_hash_in_the_file_is_no_token(guarded: Guarded) -> None:
    stolen = guarded.people.users[0].hash
    assert ask(guarded, {"Authorization": f"Bearer {stolen}"}).status_code == 401


def test_s12_digest_as_clients_do_it(guarded: Guarded) -> None:
    auth = httpx.DigestAuth("ada", guarded.people.secrets["ada"])
    for path in ("/recommend/U0", "/recommend/U0?howMany=1", "/similarity/I0/I1", "/model.pmml"):
        assert guarded.client.get(path, auth=auth).status_code == 200
    wrong = httpx.DigestAuth("ada", "wrong")
    assert guarded.client.get("/recommend/U0", auth=wrong).status_code == 401
    assert code(guarded.client.post("/ingest", auth=auth)) == (403, "forbidden")


def test_s12_a_digest_counts_once(guarded: Guarded) -> None:
    first = digest(guarded)
    assert ask(guarded, first).status_code == 200
    assert ask(guarded, first).status_code == 401
    nonce = re.findall(r'nonce="([^"]+)"', first["Authorization"])[0]
    # Requests on several connections overtake one another.
    for nc in ("00000003", "00000002"):
        assert ask(guarded, digest(guarded, nonce=nonce, nc=nc)).status_code == 200
    for nc in ("00000002", "00000003", "1", "zzzzzzzz", "-0000001"):
        assert ask(guarded, digest(guarded, nonce=nonce, nc=nc)).status_code == 401
    assert ask(guarded, digest(guarded, nonce=nonce, nc="ffffffff")).status_code == 200
    assert ask(guarded, digest(guarded, nonce=nonce, nc="00000004")).status_code == 401


@pytest.mark.parametrize(
    "changes",
    [
        {"algorithm": "MD5"},
        {"qop": "auth-int"},
        {"uri": "/similarity/I0"},
        {"username": "bob"},
        {"realm": "other"},
    ],
    ids=str,
)
def test_s12_weaker_or_foreign_digests_are_refused(
    guarded: Guarded, changes: dict[str, str]
) -> None:
    reply = ask(guarded, digest(guarded, **changes))
    assert reply.status_code == 401
    assert "stale" not in reply.headers["WWW-Authenticate"]


def test_s12_a_foreign_nonce_is_stale(guarded: Guarded) -> None:
    reply = ask(guarded, digest(guarded, nonce="1.000-0011223344556677-" + "0" * 32))
    assert reply.status_code == 401
    assert "stale=true" in reply.headers["WWW-Authenticate"]


@pytest.fixture
def remote(tmp_path: Path, people: People) -> FlaskClient:
    """A client on another machine, without TLS."""
    served = serve(from_files(tmp_path), serving__api__auth__file=str(people.path))
    client = served.client
    client.environ_base["REMOTE_ADDR"] = "192.0.2.7"
    return client


@pytest.mark.parametrize("given", ["Bearer {}", "Basic YTpi"])
def test_s13_tokens_do_not_travel_in_the_clear(
    remote: FlaskClient, people: People, given: str
) -> None:
    headers = {"Authorization": given.format(people.secrets["read"])}
    reply: Any = remote.get("/recommend/U0", headers=headers)
    assert (reply.status_code, reply.json["error"]["code"]) == (403, "tls_required")
    url = "https://service.example/recommend/U0"
    assert remote.get(url, headers={"Authorization": "Bearer x"}).status_code == 401
    assert remote.get(url, headers=people.token("read")).status_code == 200


def test_s11_without_authentication_only_loopback_is_bound() -> None:
    for host in ("0.0.0.0", "192.0.2.7", "::", "example.org"):
        with pytest.raises(ServeError, match=r"serving\.api\.auth\.file"):
            bind(host, 0)
    bind("127.0.0.1", 0).close()
    bind("0.0.0.0", 0, authenticated=True).close()


def test_s15_nothing_secret_is_logged(guarded: Guarded, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        guarded.get("/recommend/U0", "read")
        guarded.get("/status", "admin")
        guarded.get("/status", "read")
        ask(guarded, {"Authorization": "Bearer mistyped-secret"})
        ask(guarded, digest(guarded, username="evil", password="mistyped-secret"))
        guarded.ingest("private-user,i,x", "ingest")
    for secret in (*guarded.people.secrets.values(), "mistyped-secret", "private-user"):
        assert secret not in caplog.text
    trail = [r.getMessage() for r in caplog.records if r.name == "serving_layer.access.audit"]
    assert [line.partition(";")[0] for line in trail] == [
        "admin request",
        "access refused: role 'admin' is missing",
        "login refused: unknown token",
        "login refused: wrong password",
    ]
    assert "user 'admin', address 127.0.0.1, GET 'framework.status', request " in trail[0]


def test_s15_a_file_that_others_may_read_blocks_the_start(tmp_path: Path, people: People) -> None:
    people.path.chmod(0o644)
    with pytest.raises(ConfigError, match=r"serving\.api\.auth\.file.*chmod 600"):
        serve(from_files(tmp_path), serving__api__auth__file=str(people.path))


def test_users_come_and_go_while_the_service_runs(
    people: People, caplog: pytest.LogCaptureFixture
) -> None:
    now = [0.0]
    users = Users(people.path, lambda: now[0])
    before = users.known()
    people.add("late", "read")
    assert users.known() is before
    now[0] = 1.0
    assert people.users[-1].hash in users.known().by_token
    write_users(people.path, people.users[1:])
    os.utime(people.path, (1, 1))
    now[0] = 2.0
    known = users.known()
    assert people.users[0].hash not in known.by_token
    people.path.unlink()
    now[0] = 3.0
    assert users.known() is known
    assert "the users stay as they were" in caplog.text
