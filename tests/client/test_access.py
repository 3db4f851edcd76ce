"""Who the client says it is, whom it trusts, and what it brings along."""

from __future__ import annotations

import os
import ssl
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trustme
from gemsbok_client import ApiError, Client, Event, IngestError, UnreachableError

from common.config.credentials import new_user, write_users
from serving_layer.transport.bridge import Limits
from serving_layer.transport.tls import Certificate
from tests.client.conftest import QUICK
from tests.serving_layer.apps.als import fixture as als_fixture
from tests.serving_layer.running import Running

ROOT = Path(__file__).parents[2]


@dataclass
class Guarded:
    """A server with HTTPS where everybody has to log in."""

    url: str
    authority: Path
    token: str
    password: str

    def client(self, **options: Any) -> Client:
        always = {"verify": str(self.authority), "retry": QUICK, "timeout": 60.0}
        return Client(self.url, **{**always, **options})


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Guarded]:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    made = authority.issue_cert("127.0.0.1")
    (tmp_path / "server.pem").write_bytes(b"".join(pem.bytes() for pem in made.cert_chain_pems))
    made.private_key_pem.write_to_path(str(tmp_path / "server.key"))
    sender, token = new_user("sender", ("ingest",), "bearer")
    reader, password = new_user("reader", ("read",), "digest")
    write_users(tmp_path / "users.json", [sender, reader])
    served = als_fixture.serve(
        als_fixture.from_files(tmp_path), serving__api__auth__file=str(tmp_path / "users.json")
    )
    certificate = Certificate(tmp_path / "server.pem", tmp_path / "server.key")
    limits = Limits(threads=4, body_bytes=100_000, waiting=64, held_bytes=400_000)
    running = Running(served.app, limits, certificate)
    url = f"https://{running.host}:{running.port}"
    yield Guarded(url, tmp_path / "ca.pem", token, password)
    running.close()


def test_a_token_and_a_password_open_what_their_roles_allow(guarded: Guarded) -> None:
    with guarded.client(token=guarded.token) as sender:
        assert sender.ingest([Event("a", "b")]) == 1
        with pytest.raises(ApiError, match="403 forbidden"):
            sender.recommend("U0")
    with guarded.client(digest=("reader", guarded.password)) as reader:
        assert reader.recommend("U0", how_many=1)[0].id == "I1"
        assert len(list(reader.recommend_many(["U0", "U1"]))) == 2
        with pytest.raises(IngestError, match="403 forbidden"):
            reader.ingest([Event("a", "b")])


def test_without_credentials_only_readiness_is_told(guarded: Guarded) -> None:
    with guarded.client() as nobody:
        assert nobody.readiness().ready
        with pytest.raises(ApiError, match="401 unauthorized"):
            nobody.recommend("U0")


def test_an_unknown_authority_is_not_trusted_unless_told_so(guarded: Guarded) -> None:
    with (
        guarded.client(verify=True) as client,
        pytest.raises(UnreachableError, match="CERTIFICATE"),
    ):
        client.version()
    context = ssl.create_default_context(cafile=str(guarded.authority))
    for verify in (context, False):
        with guarded.client(verify=verify, token=guarded.token) as client:
            assert client.readiness().ready


def test_it_brings_neither_the_platform_nor_pandas_along() -> None:
    code = "import sys, gemsbok_client; print(*{name.partition('.')[0] for name in sys.modules})"
    found = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT / "client")},
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = set(found.stdout.split())
    assert {"gemsbok_client", "httpx"} <= loaded
    assert not loaded & {"pyspark", "flask", "pandas", "numpy", "common", "serving_layer"}
