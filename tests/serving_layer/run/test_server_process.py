"""The serving layer as a process: how it starts, refuses to, and stops."""

from __future__ import annotations

import io
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from common.telemetry.logs import log_to_stderr
from serving_layer.__main__ import main
from serving_layer.transport.sockets import ServeError, bind
from stack.ports import free_port

#: A broker in the process itself, so that the process can be watched without Kafka.
SCRIPT = """
import sys
from common.broker.memory import MemoryBroker
from serving_layer.__main__ import main
broker = MemoryBroker.named("memory://here")
broker.create_topic("gemsbok.input", 1)
broker.create_topic("gemsbok.update", 1)
sys.exit(main(sys.argv[1:]))
"""

#: The same, whose update topic is replaced when a line comes, by one that cannot be followed.
REPLACED = (
    """
import sys, threading
from common.broker.memory import MemoryBroker
broker = MemoryBroker.named("memory://here")
def replace():
    sys.stdin.readline()
    broker.delete_topic("gemsbok.update")
    broker.create_topic("gemsbok.update", 2)
threading.Thread(target=replace, daemon=True).start()
"""
    + SCRIPT
)


#: For what comes; no test takes as long unless it fails.
SECONDS = 60.0


def settings(tmp_path: Path, port: int) -> list[str]:
    pairs = {
        "app": "wordcount",
        "input_topic.broker": "memory://here",
        "batch.storage.model_dir": tmp_path / "model",
        "serving.api.port": port,
    }
    return [part for key, value in pairs.items() for part in ("--set", f"{key}={value}")]


@pytest.fixture
def process(
    tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[tuple[subprocess.Popen[str], int]]:
    port = free_port()
    script = getattr(request, "param", SCRIPT)
    command = [sys.executable, "-c", script, *settings(tmp_path, port)]
    pipe = subprocess.PIPE
    started = subprocess.Popen(command, stdin=pipe, stderr=pipe, text=True, env=dict(os.environ))
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline and started.poll() is None:
        try:
            httpx.get(f"http://127.0.0.1:{port}/livez", timeout=SECONDS)
            break
        except httpx.TransportError:
            time.sleep(0.05)
    with started:
        yield started, port
        if started.poll() is None:
            started.kill()


@pytest.mark.slow
def test_sigterm_turns_ready_off_then_ends_with_0(
    process: tuple[subprocess.Popen[str], int],
) -> None:
    started, port = process
    # One connection, so that questions are quick enough for the second of notice.
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=SECONDS) as client:
        assert client.get("/livez").status_code == 200
        assert "no model generation yet" in client.get("/ready").text
        assert client.post("/add/a%20b").status_code == 204
        started.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + SECONDS
        seen = ""
        while "stopping" not in seen and time.monotonic() < deadline:
            seen = client.get("/ready").text
        assert "this process is stopping" in seen
    assert started.wait(SECONDS) == 0
    assert started.stderr is not None
    log = started.stderr.read()
    assert f"listening on http://127.0.0.1:{port}" in log
    assert log.strip().endswith("stopped")
    assert "Traceback" not in log
    assert "experimental" not in log


@pytest.mark.slow
def test_s24_it_listens_to_one_port_on_loopback(
    process: tuple[subprocess.Popen[str], int],
) -> None:
    started, port = process
    found = psutil.Process(started.pid).net_connections("inet")
    listening = [c.laddr for c in found if c.status == psutil.CONN_LISTEN]
    assert listening == [("127.0.0.1", port)]


@pytest.mark.slow
def test_a_stalled_client_does_not_keep_it_from_stopping(
    process: tuple[subprocess.Popen[str], int],
) -> None:
    started, port = process
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(b"POST /add HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\na")
        started.send_signal(signal.SIGTERM)
        assert started.wait(SECONDS) == 0


def test_a_busy_port_is_told_with_a_remedy(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ServeError, match=rf"port {port} .* is in use.*serving\.api\.port"):
            bind("127.0.0.1", port)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org", ""])
def test_addresses_that_others_reach_are_refused(host: str) -> None:
    with pytest.raises(ServeError, match="gemsbok auth add"):
        bind(host, 0)


def test_two_servers_cannot_share_a_port() -> None:
    with bind("127.0.0.1", 0) as first, pytest.raises(ServeError, match="in use"):
        bind("127.0.0.1", first.getsockname()[1])


WITHOUT_TOPICS = [
    *("--set", "input_topic.broker=memory://without-topics"),
    *("--set", "serving.api.port=0"),
]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--set", "serving.api.host=0.0.0.0"], 1, "gemsbok auth add"),
        (["--set", "serving.api.prot=1"], 2, "port"),
        (["--set", "app=wordcuont"], 2, "wordcount"),
        (["--conf", "/does/not/exist.toml"], 2, "/does/not/exist.toml"),
        (WITHOUT_TOPICS, 69, "bin/gemsbok topics setup"),
        # No broker has been asked for the topics yet.
        ([*WITHOUT_TOPICS, "--set", "app=kmeans"], 2, "set feature_names or num_features"),
    ],
)
def test_what_is_wrong_at_the_start_has_a_code_and_a_remedy(
    arguments: list[str], code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    handlers = logging.getLogger().handlers[:]
    try:
        assert main(arguments) == code
    finally:
        logging.getLogger().handlers[:] = handlers
    assert message in capsys.readouterr().err


def test_an_event_is_one_line_in_the_log_whatever_an_id_holds() -> None:
    stream = io.StringIO()
    handlers = logging.getLogger().handlers[:]
    try:
        log_to_stderr(stream)
        logging.getLogger("x").warning("id %s", "a\r\nERROR forged \x1b[31m\u2028\x85")
        try:
            message = "a\nb"
            raise ValueError(message)
        except ValueError:
            logging.getLogger("x").exception("failed")
    finally:
        logging.getLogger().handlers[:] = handlers
    lines = stream.getvalue().splitlines()
    assert len(lines) == 2
    assert lines[0].endswith(r"WARNING x: id a\r\nERROR forged \x1b[31m\u2028\x85")
    assert r"ValueError: a\nb" in lines[1]


@pytest.mark.slow
@pytest.mark.parametrize("process", [REPLACED], indirect=True)
def test_a2_a_process_that_cannot_follow_the_topic_any_more_ends_with_1(
    process: tuple[subprocess.Popen[str], int],
) -> None:
    started, port = process
    assert httpx.get(f"http://127.0.0.1:{port}/livez", timeout=SECONDS).status_code == 200
    _, told = started.communicate("go\n", timeout=SECONDS)
    assert started.returncode == 1
    assert "has 2 partitions" in told
    assert told.strip().splitlines()[-1].count("followed no more") == 1
