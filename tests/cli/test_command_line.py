"""The command line itself, and its verbs kafka and doctor."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from cli import doctor
from cli.__main__ import main
from common import __version__
from stack import jars, paths, ports
from stack.errors import EXIT_UNAVAILABLE
from stack.local_kafka import LocalKafka


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state folder of the test's own, with the installed jars."""
    (tmp_path / "jars").symlink_to(paths.home() / "jars")
    monkeypatch.setenv("GEMSBOK_HOME", str(tmp_path))
    return tmp_path


def test_wrong_verb_is_told_without_a_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bogus"]) == 2
    assert "No such command 'bogus'" in capsys.readouterr().err


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"Gemsbok {__version__}\n"


def test_user_error_shows_message_remedy_and_code(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server((ports.LOOPBACK, 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["kafka", "start", "--port", str(port)]) == EXIT_UNAVAILABLE
    message, remedy = capsys.readouterr().err.splitlines()
    assert message.startswith(f"gemsbok: Port {port} is taken by ")
    assert remedy == (
        "Stop that process, or take another port: `bin/gemsbok kafka start --port N`."
    )


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from cli.__main__ import build_app; build_app();"
        "print([name for name in ('pyspark', 'kafka', 'numpy', 'flask') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=paths.ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.integration
def test_kafka_verbs(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["kafka", "status"]) == 3
    assert "not running" in capsys.readouterr().out
    try:
        assert main(["kafka", "start", "--port", "0"]) == 0
        assert "The broker runs at 127.0.0.1:" in capsys.readouterr().out
        assert main(["kafka", "start"]) == 0
        assert "already running" in capsys.readouterr().out
        assert main(["kafka", "status", "--json"]) == 0
        status = json.loads(capsys.readouterr().out)
        assert status["running"]
        assert status["topics"] == []
        assert main(["doctor", "--json", "--broker", status["address"]]) in (0, 1)
        assert finding("broker", capsys)["ok"]
    finally:
        assert main(["kafka", "stop"]) == 0
    assert main(["kafka", "stop"]) == 0
    assert "was not running" in capsys.readouterr().out


def finding(name: str, capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    checks = json.loads(capsys.readouterr().out)["checks"]
    return next(check for check in checks if check["name"] == name)


@pytest.mark.jvm
def test_doctor_finds_this_installation_right(home: Path) -> None:
    names = ("python", "java", "packages", "spark jars", "kafka jars", "versions")
    checks = {check.name: check for check in doctor.run_checks()}
    assert [checks[name].found for name in names if not checks[name].ok] == []


@pytest.mark.jvm
def test_doctor_fails_with_a_remedy(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as closed:
        closed.bind((ports.LOOPBACK, 0))
        address = f"127.0.0.1:{closed.getsockname()[1]}"
        assert main(["doctor", "--broker", address]) == 1
    output = capsys.readouterr().out
    assert f"{address}: " in output
    assert "start one: `bin/gemsbok kafka start`" in output


@pytest.mark.parametrize("address", ["nonsense", "host:", "127.0.0.1:99999"])
def test_doctor_refuses_an_address_that_is_none(home: Path, address: str) -> None:
    assert not doctor.check_broker(address, LocalKafka(home)).ok


def test_doctor_names_who_takes_a_port(home: Path) -> None:
    with socket.socket() as listener:
        listener.bind((ports.LOOPBACK, 0))
        listener.listen()
        check = doctor.check_port("serving port", listener.getsockname()[1], LocalKafka(home))
    assert not check.ok
    assert f"(pid {os.getpid()})" in check.found


def test_doctor_finds_a_changed_jar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEMSBOK_HOME", str(tmp_path))
    folder = paths.jars_dir("spark")
    folder.mkdir(parents=True)
    name = next(iter(jars.read_lock()["spark"]))
    (folder / name).write_bytes(b"changed")
    check = doctor.check_jars("spark")
    assert not check.ok
    assert f"{name} has SHA-256" in check.found
    assert f"Remove {folder}" in check.remedy


def test_doctor_says_how_to_get_java(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    check = doctor.check_java()
    assert not check.ok
    assert "has no bin/java" in check.found
    assert "openjdk-17-jre-headless" in check.remedy


@pytest.mark.parametrize("layer", ["batch", "speed"])
def test_a_layer_that_a_family_does_not_have_is_told_before_spark_starts(
    layer: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([layer, "--set", "app=pmml"]) == 1
    told = capsys.readouterr().err
    assert f'app = "pmml" has no {layer} layer: it is for serving alone.' in told
    assert "bin/gemsbok serving" in told
