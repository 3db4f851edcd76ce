"""Background processes: started, found again, stopped, and never a stranger killed."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from common.base.paths import ROOT
from common.runtime.configuration import load
from stack.errors import UserError
from stack.identity import children, start_mark
from stack.launch import by_python, by_spark_submit, layer_arguments
from stack.processes import Background

SLEEPER = [sys.executable, "-c", "import time; print('awake', flush=True); time.sleep(600)"]
STUBBORN = [
    sys.executable,
    "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
    "print('awake', flush=True); time.sleep(600)",
]


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


@pytest.fixture
def background(tmp_path: Path) -> Iterator[Background]:
    process = Background(tmp_path, "speed")
    yield process
    process.stop(0)


def is_awake(process: Background) -> bool:
    return "awake" in process.log.read_text()


def test_a_process_is_started_found_by_another_and_stopped(
    background: Background, tmp_path: Path
) -> None:
    running = background.start(SLEEPER, os.environ, "127.0.0.1:1")
    wait_for(lambda: is_awake(background))
    found = Background(tmp_path, "speed").find()
    assert found == running
    assert found is not None
    assert found.address == "127.0.0.1:1"
    assert os.getpgid(running.pid) == running.pid
    assert Background(tmp_path, "speed").stop(10) is True
    assert background.find() is None
    assert background.stop(10) is False


def test_what_ignores_the_request_is_killed(background: Background) -> None:
    running = background.start(STUBBORN, os.environ)
    wait_for(lambda: is_awake(background))
    assert background.stop(0.2) is True
    assert not running.is_alive()


def test_a_stranger_with_the_same_number_is_left_alone(
    background: Background, tmp_path: Path
) -> None:
    running = background.start(SLEEPER, os.environ)
    pid_file = tmp_path / "run" / "speed.json"
    told = json.loads(pid_file.read_text())
    pid_file.write_text(json.dumps({**told, "started": "1"}))
    try:
        assert background.find() is None
        assert background.stop(0) is False
        assert running.is_alive()
    finally:
        os.kill(running.pid, signal.SIGKILL)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": 1}'])
def test_a_damaged_pid_file_names_nobody(background: Background, tmp_path: Path, text: str) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "speed.json").write_text(text)
    assert background.find() is None


def test_a_program_that_is_not_there(background: Background) -> None:
    with pytest.raises(UserError, match="speed layer cannot be started"):
        background.start(["/no/such/program"], os.environ)


def test_failure_shows_the_last_words(background: Background, tmp_path: Path) -> None:
    # Not before it has been noted that it runs.
    code = (
        "import pathlib, sys, time\n"
        "while not pathlib.Path(sys.argv[1]).exists(): time.sleep(0.01)\n"
        "sys.exit('no topic gemsbok.input')"
    )
    running = background.start([sys.executable, "-c", code, str(tmp_path / "go")], os.environ)
    (tmp_path / "go").touch()
    wait_for(lambda: not running.is_alive())
    assert "no topic gemsbok.input" in str(background.failure())
    assert str(background.log) in str(background.failure())


def test_an_ended_process_has_no_start_mark() -> None:
    child = subprocess.Popen(["true"])
    wait_for(lambda: start_mark(child.pid) is None)
    child.wait()
    assert start_mark(os.getpid()) == start_mark(os.getpid()) is not None


def test_the_printed_command_is_the_one_that_runs(tmp_path: Path) -> None:
    settings = load(flags={"batch.spark.config.spark.x": "a 'b'", "id": "my app"}, environment={})
    arguments = layer_arguments(tmp_path / "a b.toml", ["ml.seed=1"])
    launch = by_spark_submit("batch", settings, arguments)
    words = shlex.split(str(launch).replace("\\\n", ""))
    assert words == [f"{k}={v}" for k, v in launch.variables.items()] + list(launch.command)
    assert "spark.x=a 'b'" in words
    assert words[words.index("--name") + 1] == "gemsbok-batch-my app"
    assert words[-4:] == ["--conf", str(tmp_path / "a b.toml"), "--set", "ml.seed=1"]


SUPERVISOR = """
import sys
from stack.launch import Launch
sys.exit(Launch(["sh", "-c", sys.argv[1]], {}, sys.argv[2]).supervise())
"""
#: As spark-submit does: a process that waits for the driver and ends with its exit code.
DRIVER = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
print("awake", flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_supervisor_that_is_told_to_stop_stops_the_driver_alone(
    tmp_path: Path, number: signal.Signals
) -> None:
    script = tmp_path / "driver.py"
    script.write_text(DRIVER)
    # spark-submit has other children too; the driver's exit code tells that this one ended well.
    other = "sleep 600 & other=$!"
    driver = f"{shlex.join([sys.executable, str(script)])}; code=$?"
    submit = f"{other}; {driver}; kill -0 $other || code=8; kill $other; exit $code"
    command = [sys.executable, "-c", SUPERVISOR, submit, str(script)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT, text=True) as supervisor:
        assert supervisor.stdout is not None
        assert supervisor.stdout.readline() == "awake\n"
        (submit,) = children(supervisor.pid)
        assert len(children(submit)) == 2
        assert len(children(submit, str(script))) == 1
        supervisor.send_signal(number)
        assert supervisor.wait(60) == 7


def test_a_supervisor_tells_by_which_signal_spark_submit_ended() -> None:
    command = [sys.executable, "-c", SUPERVISOR, "kill -9 $$", "driver.py"]
    assert subprocess.run(command, cwd=ROOT, check=False).returncode == 137


def test_by_python_runs_this_interpreter() -> None:
    launch = by_python("speed", layer_arguments(None, None))
    assert launch.command[0] == sys.executable
    assert list(launch.command[-2:]) == ["-m", "speed_layer"]
    assert launch.environment["GEMSBOK_HOME"]


def test_what_a_process_leaves_behind_ends_too(background: Background, tmp_path: Path) -> None:
    parent = [
        sys.executable,
        "-c",
        "import subprocess, sys, time;"
        f"child = subprocess.Popen({STUBBORN!r}); print(child.pid, flush=True); time.sleep(600)",
    ]
    background.start(parent, os.environ)
    wait_for(lambda: is_awake(background))
    child = int(background.log.read_text().split()[0])
    assert start_mark(child) is not None
    assert Background(tmp_path, background.name, group_seconds=0.2).stop(10) is True
    wait_for(lambda: start_mark(child) is None)
