"""The batch and speed layers by spark-submit on a standalone cluster of two workers.

Everything listens on loopback.  What one machine hides shows here: the family's code, its
jars and its Python must reach executors that are other processes.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from common.broker import Broker, open_broker
from common.broker.api import read_all
from common.runtime.configuration import load
from common.wire.messages import MODEL, PROGRESS, UP, Message, Progress
from stack import paths, ports
from stack.files import last_lines
from stack.launch import Launch, by_spark_submit, layer_arguments, spark_home
from stack.topics import create_topics

pytestmark = pytest.mark.integration

INPUT, UPDATE = "cluster.input", "cluster.update"
LINES = ["a b c", "b c", "d"]
#: For each word the number of distinct other words on its lines.
COUNTS = {"a": 2, "b": 2, "c": 2, "d": 0}


#: For Java processes that live half a minute, of which there are seven here.
QUICK = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"


@dataclass(frozen=True)
class Cluster:
    """A standalone master: its address for Spark, and that of its page."""

    master: str
    page: str

    def state(self) -> dict[str, Any]:
        """What the master knows of workers and applications."""
        with urllib.request.urlopen(f"{self.page}/json/", timeout=30) as reply:
            found: dict[str, Any] = json.load(reply)
        return found


@contextmanager
def daemon(log: Path, *arguments: str) -> Iterator[None]:
    """Run one of Spark's daemons for the length of the block."""
    environment = {
        **os.environ,
        "SPARK_HOME": str(spark_home()),
        "SPARK_LOCAL_IP": ports.LOOPBACK,
        "SPARK_DAEMON_MEMORY": "256m",
        "SPARK_DAEMON_JAVA_OPTS": QUICK,
    }
    command = [str(spark_home() / "bin" / "spark-class"), *arguments]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, env=environment, stdout=output, stderr=output, start_new_session=True
        )
    try:
        yield
    finally:
        # It has nothing to finish, and a worker's executors are its children.
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("cluster")
    port, page = ports.free_port(), ports.free_port()
    found = Cluster(f"spark://{ports.LOOPBACK}:{port}", f"http://{ports.LOOPBACK}:{page}")
    listen = ["--host", ports.LOOPBACK]
    size = ["--cores", "1", "--memory", "1g"]
    deploy = "org.apache.spark.deploy"
    with ExitStack() as stack:
        arguments = [*listen, "--port", str(port), "--webui-port", str(page)]
        stack.enter_context(daemon(folder / "master.log", f"{deploy}.master.Master", *arguments))
        for name in ("one", "two"):
            log, work = folder / f"{name}.log", ["--work-dir", str(folder / name)]
            free = ["--webui-port", str(ports.free_port())]
            arguments = [*listen, *size, *free, *work, found.master]
            stack.enter_context(daemon(log, f"{deploy}.worker.Worker", *arguments))
        wait_for(lambda: n_alive(found) == 2, 120, lambda: last_lines(folder / "one.log"))
        yield found


def n_alive(cluster: Cluster) -> int:
    try:
        return sum(worker["state"] == "ALIVE" for worker in cluster.state()["workers"])
    except OSError:
        return 0


def wait_for(
    condition: Callable[[], bool], seconds: float, explain: Callable[[], str] = str
) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain\n{explain()}"
        time.sleep(0.1)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "jars").symlink_to(paths.home() / "jars")
    monkeypatch.setenv("GEMSBOK_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def conf(home: Path, cluster: Cluster, kafka_broker: str) -> Path:
    spark = (
        f'master = "{cluster.master}"\nexecutor_cores = 1\nexecutor_memory = "512m"\n'
        'driver_memory = "512m"\nshuffle_partitions = 2\n'
        f'config."spark.driver.extraJavaOptions" = "{QUICK}"\n'
        f'config."spark.executor.extraJavaOptions" = "{QUICK}"\n'
    )
    path = home / "cluster.toml"
    path.write_text(
        'app = "wordcount"\n'
        f'[input_topic]\nbroker = "{kafka_broker}"\nname = "{INPUT}"\npartitions = 2\n'
        f'[update_topic]\nname = "{UPDATE}"\n'
        f"[batch.spark]\n{spark}[speed.spark]\n{spark}"
    )
    return path


@pytest.fixture
def broker(conf: Path) -> Iterator[Broker]:
    with open_broker(load(conf)) as made:
        create_topics(load(conf))
        yield made


def spark_submit(layer: str, conf: Path) -> Launch:
    return by_spark_submit(layer, load(conf), layer_arguments(conf, None))


def send(broker: Broker, lines: list[str]) -> None:
    producer = broker.producer()
    assert producer.send_all(INPUT, [(str(n), line) for n, line in enumerate(lines)]) == len(lines)
    producer.close()


def messages(broker: Broker) -> list[Message]:
    reader = broker.reader(UPDATE)
    found = list(read_all(reader, broker.end_offsets(UPDATE)))
    reader.close()
    return [Message.from_record(one.key, one.value, one.headers) for one in found]


def test_both_layers_run_on_two_workers(conf: Path, broker: Broker, cluster: Cluster) -> None:
    send(broker, LINES)
    run_batch_once(conf)
    models = [message for message in messages(broker) if message.key == MODEL]
    assert [json.loads(model.value) for model in models] == [COUNTS]
    with speed_layer(conf) as log:
        send(broker, ["e f"])
        wait_for(lambda: has_folded(broker, 4), 120, lambda: last_lines(log, 20))
        assert n_executors(cluster) == 2
    updates = [message.value for message in messages(broker) if message.key == UP]
    assert sorted(updates) == ["e,1,f", "f,1,e"]
    assert "speed layer stopped" in log.read_text()


def run_batch_once(conf: Path) -> None:
    launch = spark_submit("batch", conf)
    # spark-submit sends the driver's errors to its standard output.
    done = subprocess.run(
        [*launch.command, "--once"], env=launch.environment, stdout=subprocess.PIPE, text=True
    )
    assert done.returncode == 0, done.stdout[-3000:]


@contextmanager
def speed_layer(conf: Path) -> Iterator[Path]:
    launch = spark_submit("speed", conf)
    log = conf.with_name("speed.log")
    with log.open("wb") as output:
        process = subprocess.Popen(
            launch.command,
            env=launch.environment,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        wait_for(lambda: "layer started" in log.read_text(), 120, lambda: last_lines(log, 20))
        yield log
        launch.stop(process.pid)
        assert process.wait(60) == 0, last_lines(log, 20)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def has_folded(broker: Broker, n_events: int) -> bool:
    done = [Progress.from_value(m.value) for m in messages(broker) if m.key == PROGRESS]
    return bool(done) and sum(done[-1].offsets.values()) == n_events


def n_executors(cluster: Cluster) -> int:
    """How many cores, one for each executor, the running application holds."""
    (app,) = cluster.state()["activeapps"]
    return int(app["cores"])
