"""The process with users and a certificate: HTTPS for those who log in, and HTTP for nobody."""

from __future__ import annotations

import signal
import ssl
import subprocess
import sys
import time
from pathlib import Path

import httpx
import psutil
import pytest
import trustme

from stack.ports import free_port
from tests.serving_layer.access.conftest import People
from tests.serving_layer.run.test_server_process import SCRIPT, settings


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def secured(folder: Path, people: People, authority: trustme.CA, secure_port: int) -> list[str]:
    """Settings of a service for other machines."""
    made = authority.issue_cert("localhost")
    made.private_key_and_cert_chain_pem.write_to_path(str(folder / "server.pem"))
    pairs = {
        "host": "0.0.0.0",
        "secure_port": secure_port,
        "certificate_file": folder / "server.pem",
        "key_file": folder / "server.pem",
        "auth.file": people.path,
    }
    return [
        part for key, value in pairs.items() for part in ("--set", f"serving.api.{key}={value}")
    ]


@pytest.mark.slow
def test_https_for_those_who_log_in(tmp_path: Path, people: People, authority: trustme.CA) -> None:
    secure_port, port = free_port(), free_port()
    arguments = [*settings(tmp_path, port), *secured(tmp_path, people, authority, secure_port)]
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    url = f"https://localhost:{secure_port}"
    command = [sys.executable, "-c", SCRIPT, *arguments]
    with (
        subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process,
        httpx.Client(verify=trusting, timeout=30) as client,
    ):
        try:
            await_answer(client, f"{url}/livez", process)
            ports = [c.laddr.port for c in psutil.Process(process.pid).net_connections("inet")]
            assert secure_port in ports
            assert port not in ports
            assert client.get(f"{url}/status").status_code == 401
            assert client.get(f"{url}/status", headers=people.token("admin")).status_code == 200
            added = client.post(f"{url}/add/a%20b", headers=people.token("ingest"))
            assert added.status_code == 204
        finally:
            process.send_signal(signal.SIGTERM)
        assert process.stderr is not None
        told = process.stderr.read()
    assert process.returncode == 0
    assert f"listening on https://0.0.0.0:{secure_port}" in told
    assert not [secret for secret in people.secrets.values() if secret in told]


def await_answer(client: httpx.Client, url: str, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        try:
            client.get(url)
            return
        except httpx.TransportError:
            time.sleep(0.05)
    pytest.fail("the process does not answer")
