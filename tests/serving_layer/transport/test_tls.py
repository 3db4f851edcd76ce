"""HTTPS by the server that ships, and certificates that are refused before it starts."""

from __future__ import annotations

import datetime
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import trustme

from common.config import ConfigError
from common.runtime.configuration import load
from serving_layer.transport.bridge import Limits
from serving_layer.transport.tls import Certificate, CertificateError
from tests.serving_layer.running import Running

LIMITS = Limits(4, 100_000, waiting=64, held_bytes=400_000, body_seconds=30.0)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def written(authority: trustme.CA, folder: Path, **options: Any) -> Certificate:
    made = authority.issue_cert("localhost", "127.0.0.1", **options)
    certificate, key = folder / "server.pem", folder / "server.key"
    certificate.write_bytes(b"".join(blob.bytes() for blob in made.cert_chain_pems))
    made.private_key_pem.write_to_path(str(key))
    return Certificate(certificate, key)


@pytest.fixture
def secure(served: Any, authority: trustme.CA, tmp_path: Path) -> Iterator[Running]:
    certificate = written(authority, tmp_path)
    certificate.check()
    running = Running(served.app, LIMITS, certificate)
    yield running
    running.close()


def trusting(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


def test_https_is_served(served: Any, secure: Running, authority: trustme.CA) -> None:
    with httpx.Client(verify=trusting(authority), timeout=30) as client:
        url = f"https://{secure.host}:{secure.port}"
        assert client.get(f"{url}/name").text == "one"
        reply = client.post(f"{url}/ingest", content=b"a,1\n", headers={"Content-Type": "text/csv"})
    assert reply.status_code == 204
    assert served.sent() == [("a", "a,1")]


def test_s17_older_versions_of_tls_are_refused(secure: Running, authority: trustme.CA) -> None:
    for version, accepted in ((ssl.TLSVersion.TLSv1_2, True), (ssl.TLSVersion.TLSv1_3, True)):
        assert handshake(secure, authority, version) is accepted
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        assert not handshake(secure, authority, ssl.TLSVersion.TLSv1_1)


def handshake(server: Running, authority: trustme.CA, version: ssl.TLSVersion) -> bool:
    context = trusting(authority)
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    context.maximum_version = version
    with socket.create_connection((server.host, server.port), timeout=30) as connection:
        try:
            with context.wrap_socket(connection, server_hostname="localhost"):
                return True
        except (ssl.SSLError, ConnectionError):
            return False


def test_plain_http_is_not_answered_there(secure: Running) -> None:
    with pytest.raises(httpx.TransportError):
        httpx.get(f"http://{secure.host}:{secure.port}/livez", timeout=30)


def test_s17_an_expired_certificate_blocks_the_start(authority: trustme.CA, tmp_path: Path) -> None:
    past = datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone.utc)
    with pytest.raises(CertificateError, match=r"server\.pem .*expired; renew it"):
        written(authority, tmp_path, not_after=past).check()


def test_another_key_blocks_the_start(authority: trustme.CA, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    mine, other = written(authority, tmp_path), written(authority, tmp_path / "other")
    with pytest.raises(CertificateError, match="belong together"):
        Certificate(mine.file, other.key_file).check()


def test_absent_and_locked_files_block_the_start(authority: trustme.CA, tmp_path: Path) -> None:
    found = written(authority, tmp_path)
    with pytest.raises(CertificateError, match=r"absent\.pem"):
        Certificate(tmp_path / "absent.pem", found.key_file).check()
    found.key_file.write_text("-----BEGIN ENCRYPTED PRIVATE KEY-----\nAA==\n", encoding="utf-8")
    with pytest.raises(CertificateError, match=r"server\.key"):
        found.check()


def test_certificate_and_key_go_together() -> None:
    with pytest.raises(ConfigError, match="go together"):
        load(flags={"serving.api.certificate_file": "a.pem"}, environment={})
    assert Certificate.of(load(environment={}).serving.api) is None
