"""``gemsbok auth``: users come and go, their secrets are shown once."""

from __future__ import annotations

import json
import stat
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from cli.__main__ import main
from common.base.hashing import sha256_hex
from common.config.credentials import read_users


@pytest.fixture
def users(tmp_path: Path) -> list[str]:
    return ["--set", f"serving.api.auth.file={tmp_path / 'users.json'}"]


def test_a_user_is_added_listed_and_removed(
    users: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["auth", "add", "shop", "--role", "ingest", "--role", "read", *users]) == 0
    token = capsys.readouterr().out.strip()
    assert len(token) >= 43
    path = tmp_path / "users.json"
    assert token not in path.read_text(encoding="utf-8")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [(user.name, user.hash) for user in read_users(path)] == [("shop", sha256_hex(token))]

    assert main(["auth", "add", "ada", "--digest", "--role", "admin", "--json", *users]) == 0
    added = json.loads(capsys.readouterr().out)
    assert read_users(path)[1].hash == sha256_hex(f"ada:gemsbok:{added['secret']}")

    assert main(["auth", "list", "--json", *users]) == 0
    assert json.loads(capsys.readouterr().out) == [
        {"name": "shop", "roles": "ingest,read", "kind": "bearer"},
        {"name": "ada", "roles": "admin", "kind": "digest"},
    ]
    assert main(["auth", "remove", "shop", *users]) == 0
    assert [user.name for user in read_users(path)] == ["ada"]


def test_mistakes_are_told(users: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["auth", "list"]) == 2
    assert "serving.api.auth.file" in capsys.readouterr().err
    assert main(["auth", "add", "a:b", *users]) == 2
    assert main(["auth", "add", "ada", "--role", "king", *users]) == 2
    assert "['read', 'ingest', 'admin']" in capsys.readouterr().err
    assert main(["auth", "add", "ada", *users]) == 0
    assert main(["auth", "add", "ada", *users]) == 1
    assert main(["auth", "remove", "bob", *users]) == 1


class Recorder(BaseHTTPRequestHandler):
    """Takes every write, and remembers who sent it."""

    seen: ClassVar[list[str | None]] = []

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.seen.append(self.headers["Authorization"])
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None: ...


def test_verbs_send_the_token_of_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = tmp_path / "lines.csv"
    lines.write_text("u,i\n", encoding="utf-8")
    with HTTPServer(("127.0.0.1", 0), Recorder) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        assert main(["ingest", str(lines), "--url", url]) == 0
        monkeypatch.setenv("GEMSBOK_TOKEN", "t0ken")
        assert main(["ingest", str(lines), "--url", url]) == 0
        server.shutdown()
    assert Recorder.seen == [None, "Bearer t0ken"]
