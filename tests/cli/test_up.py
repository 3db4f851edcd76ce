"""``up``, ``status`` and ``down`` around layers that only pretend: what starts, waits, ends."""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from cli import up
from cli.__main__ import main
from cli.down import stop_all
from common.config import InputTopic, Settings
from common.runtime.configuration import load
from stack import ports
from stack.errors import UserError
from stack.launch import Launch
from stack.layers import LAYERS, rows, started_broker_mark
from stack.local_kafka import LocalKafka
from stack.processes import Background

SPARK_LAYER = (
    "print('INFO x: some layer started, app als', flush=True); import time; time.sleep(600)"
)
SERVER = """
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/ready" else 404)
        self.end_headers()
server = http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler)
print("INFO x: listening on", sys.argv[1], flush=True)
server.serve_forever()
"""


class Pretend:
    """Stands for the layers' command lines.

    What `broken` names ends with an error, and what `silent` names never says that it started.
    """

    def __init__(self, port: int) -> None:
        self.port = port
        self.broken = ""
        self.silent = ""

    def __call__(self, layer: str, arguments: Sequence[str]) -> Launch:
        code = SERVER if layer == "serving" else SPARK_LAYER
        if layer == self.silent:
            code = "import time; time.sleep(600)"
        if layer == self.broken:
            code = "raise SystemExit('there is no topic x')"
        return Launch([sys.executable, "-c", code, str(self.port), *arguments], {})


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("GEMSBOK_HOME", str(tmp_path))
    yield tmp_path
    stop_all(tmp_path, 5)


@pytest.fixture
def pretend(home: Path) -> Pretend:
    return Pretend(ports.free_port())


@pytest.fixture
def settings(pretend: Pretend) -> Settings:
    return load(flags={"serving.api.port": pretend.port}, environment={})


def states(home: Path) -> dict[str, str]:
    return {row.name: row.state for row in rows(home)}


STOPPED = {"serving": "stopped", "speed": "stopped", "batch": "stopped"}
STARTED = {"serving": "ready", "speed": "running", "batch": "running"}


def test_all_layers_start_are_shown_and_stop_in_the_opposite_order(
    home: Path, settings: Settings, pretend: Pretend, capsys: pytest.CaptureFixture[str]
) -> None:
    assert states(home) == STOPPED
    up.start_layers(settings, [], 30, pretend)
    assert states(home) == STARTED
    assert main(["status", "--json"]) == 0
    shown = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert shown["serving"]["address"] == f"http://127.0.0.1:{settings.serving.api.port}"
    assert shown["batch"]["pid"] > 0
    assert shown["batch"]["log"] == str(home / "logs" / "batch.log")
    assert main(["down", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"stopped": ["batch", "speed", "serving"]}
    assert main(["status"]) == 3
    assert states(home) == STOPPED
    capsys.readouterr()
    assert main(["down"]) == 0
    assert "Nothing was running." in capsys.readouterr().out


def test_a_family_that_is_for_serving_alone_starts_serving_alone(
    home: Path, pretend: Pretend
) -> None:
    settings = load(flags={"app": "pmml", "serving.api.port": pretend.port}, environment={})
    up.start_layers(settings, [], 30, pretend)
    assert states(home) == {"serving": "ready", "speed": "stopped", "batch": "stopped"}


def test_a_second_start_leaves_what_runs_and_adds_what_is_missing(
    home: Path, settings: Settings, pretend: Pretend
) -> None:
    up.start_layers(settings, [], 30, pretend)
    before = {name: Background(home, name).find() for name in LAYERS}
    Background(home, "speed").stop(5)
    up.start_layers(settings, [], 30, pretend)
    after = {name: Background(home, name).find() for name in LAYERS}
    assert states(home) == STARTED
    assert after["serving"] == before["serving"]
    assert after["speed"] != before["speed"]


def test_a_layer_that_ends_is_told_with_its_last_words_and_nothing_stays(
    home: Path, settings: Settings, pretend: Pretend
) -> None:
    pretend.broken = "batch"
    with pytest.raises(UserError, match="there is no topic x") as caught:
        up.start_layers(settings, [], 30, pretend)
    assert "batch.log" in caught.value.remedy
    assert states(home) == STOPPED


@pytest.mark.slow
def test_a_layer_that_is_not_ready_in_time_is_stopped_again(
    home: Path, settings: Settings, pretend: Pretend
) -> None:
    pretend.silent = "batch"
    with pytest.raises(UserError, match="batch layer is not ready in 1 s"):
        up.start_layers(settings, [], 1, pretend)
    assert states(home) == STOPPED


def test_an_old_line_of_the_log_does_not_count(
    home: Path, settings: Settings, pretend: Pretend
) -> None:
    (home / "logs").mkdir()
    (home / "logs" / "batch.log").write_text("batch layer started, app als\n")
    pretend.broken = "batch"
    with pytest.raises(UserError, match="The batch layer ended"):
        up.start_layers(settings, [], 30, pretend)


def test_a_taken_port_is_told_with_its_owner(
    home: Path, settings: Settings, pretend: Pretend
) -> None:
    up.start_layers(settings, [], 30, pretend)
    other = Background(home / "other", "serving")
    with pytest.raises(UserError, match=r"is taken by python.* \(pid \d+\)"):
        up.start(other, settings, [], pretend)
    assert other.find() is None


def test_a_port_that_is_not_known_is_refused(home: Path, pretend: Pretend) -> None:
    free = load(flags={"serving.api.port": 0}, environment={})
    with pytest.raises(UserError, match="must be known"):
        up.start_layers(free, [], 5, pretend)


def test_a_stranger_at_the_usual_port_is_no_broker_of_ours(home: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        usual = InputTopic.model_construct(_fields_set=set(), broker=f"127.0.0.1:{port}")
        unnamed = load(environment={}).model_copy(update={"input_topic": usual})
        with pytest.raises(
            UserError, match=rf"Port {port} is taken by .*pid {os.getpid()}"
        ) as told:
            up.start_broker(unnamed, home)
        assert f"--set input_topic.broker=127.0.0.1:{port}" in told.value.remedy
        named = load(flags={"input_topic.broker": f"127.0.0.1:{port}"}, environment={})
        up.start_broker(named, home)
    assert not started_broker_mark(home).exists()


class Failing(LocalKafka):
    """A broker that does not come up."""

    def start(self) -> bool:
        message = "The broker ended at once."
        raise UserError(message)


def test_a_broker_that_does_not_start_is_none_of_ours(home: Path) -> None:
    address = f"127.0.0.1:{ports.free_port()}"
    settings = load(flags={"input_topic.broker": address}, environment={})
    with pytest.raises(UserError, match="ended at once"):
        up.start_broker(settings, home, Failing)
    assert not started_broker_mark(home).exists()


@pytest.mark.parametrize("address", ["kafka.example:9092", "127.0.0.1:1,127.0.0.1:2"])
def test_a_broker_elsewhere_is_not_started(home: Path, address: str) -> None:
    up.start_broker(load(flags={"input_topic.broker": address}, environment={}), home)
    assert not (home / "kafka").exists()
