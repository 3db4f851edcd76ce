"""The embedded broker: one Kafka node in KRaft mode, on loopback only.

It is made for development and tests: one copy of each record, no
authentication, nothing reachable from another machine.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import os
import signal
import subprocess
import time
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from common.broker.api import MAX_MESSAGE_BYTES
from stack import jars, ports
from stack.errors import EXIT_UNAVAILABLE, UserError
from stack.files import last_lines, write_atomically
from stack.identity import command_line
from stack.java import java_path

DEFAULT_PORT = 9092
START_TIMEOUT_SECONDS = 60.0
STOP_TIMEOUT_SECONDS = 30.0
POLL_SECONDS = 0.02

_SERVER_PROPERTIES = """\
# Written at each start by `bin/gemsbok kafka start`.
process.roles=broker,controller
node.id=1
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
controller.listener.names=CONTROLLER
controller.quorum.voters=1@127.0.0.1:{controller_port}
log.dirs={data}
auto.create.topics.enable=false
message.max.bytes={max_bytes}
replica.fetch.max.bytes={max_bytes}
replica.fetch.response.max.bytes={max_bytes}
fetch.max.bytes={max_bytes}
socket.request.max.bytes=104857600
group.initial.rebalance.delay.ms=0
offsets.topic.num.partitions=4
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
num.network.threads=2
num.io.threads=4
background.threads=2
# After a crash a broker may register again only when its last session has run out.
broker.heartbeat.interval.ms=500
broker.session.timeout.ms=3000
log.cleaner.dedupe.buffer.size=16777216
"""

_LOG4J = """\
rootLogger.level=info
rootLogger.appenderRef.file.ref=file
appender.file.type=RollingFile
appender.file.name=file
appender.file.fileName={log}
appender.file.filePattern={log}.%i
appender.file.layout.type=PatternLayout
appender.file.layout.pattern=%d{{ISO8601}} %p %m (%c)%n%ex
appender.file.policies.type=Policies
appender.file.policies.size.type=SizeBasedTriggeringPolicy
appender.file.policies.size.size=20MB
appender.file.strategy.type=DefaultRolloverStrategy
appender.file.strategy.max=3
"""


class PortTakenError(UserError):
    """Something else listens on the broker's port; the text names it where it can be seen."""

    def __init__(
        self, port: int, otherwise: str = "take another port: `bin/gemsbok kafka start --port N`"
    ) -> None:
        message = f"Port {port} is taken by {ports.owner(port)}."
        super().__init__(message, f"Stop that process, or {otherwise}.", EXIT_UNAVAILABLE)


# Brokers that this process started, by process id. They are kept here so that any
# `LocalKafka` of this process can reap them, and dropping one leaves its broker running.
_children: dict[int, subprocess.Popen[bytes]] = {}


@dataclass(frozen=True)
class Status:
    """What is known of the broker.

    Attributes
    ----------
    running
        Whether its process lives.
    pid, address, cluster_id
        Process id, ``host:port`` and Kafka's cluster id; None where there is none.
    topics
        Names of the topics, without Kafka's own; empty when it does not run.
    data_bytes
        Disk space that its data takes.
    log
        Its log file.
    """

    running: bool
    pid: int | None
    address: str | None
    cluster_id: str | None
    data_bytes: int
    log: str
    topics: list[str] = field(default_factory=list)

    def to_json(self) -> str:
        """Return it as one JSON object."""
        return json.dumps(asdict(self))


@dataclass(frozen=True)
class _Process:
    """A broker that was started: `token` is in its command line, and in no other's."""

    pid: int
    token: str
    port: int

    def is_alive(self) -> bool:
        return self.token in command_line(self.pid)


class LocalKafka:
    """A broker whose data lies in ``home/kafka`` and whose log in ``home/logs``.

    It runs detached: it outlives the process that started it, and another
    process can stop it by the same `home`.

    Parameters
    ----------
    home
        State folder; made if it is not there.
    port
        Port on 127.0.0.1; 0 takes a free one at each start.
    heap_mb
        Upper limit of the Java heap, in MiB.
    """

    def __init__(self, home: Path, port: int = DEFAULT_PORT, heap_mb: int = 512) -> None:
        self.home = Path(home).absolute()
        self.port = port
        self.heap_mb = heap_mb
        self.log = self.home / "logs" / "kafka.log"
        self._output = self.home / "logs" / "kafka.out"
        self._folder = self.home / "kafka"
        self._data = self._folder / "data"
        self._properties = self._folder / "server.properties"
        self._pid_file = self._folder / "broker.json"

    def __enter__(self) -> LocalKafka:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    @property
    def address(self) -> str:
        """``host:port`` of the broker that runs.

        Raises
        ------
        UserError
            It does not run.
        """
        process = self._running()
        if process is None:
            msg = "The broker is not running."
            raise UserError(msg, "Start it: `bin/gemsbok kafka start`.")
        return f"{ports.LOOPBACK}:{process.port}"

    def is_running(self) -> bool:
        """Whether the broker's process lives."""
        return self._running() is not None

    def answers_at(self, port: int) -> bool:
        """Whether it is this broker, told by its cluster id, that answers at the port."""
        cluster_id = self._cluster_id()
        return cluster_id is not None and cluster_at(port) == cluster_id

    def start(self) -> bool:
        """Start the broker and wait until it answers.

        Returns
        -------
        bool
            False when it ran already.

        Raises
        ------
        PortTakenError
            Something else listens on the port, or was quicker to.
        UserError
            The jars are missing, or the broker does not come up.
        """
        with self._lock():
            if self._running():
                return False
            port = self._choose_port()
            self._write_settings(port)
            if not (self._data / "meta.properties").exists():
                self._format()
            process = self._launch(port)
            self._await_answer(process)
        return True

    def stop(self, timeout_seconds: float = STOP_TIMEOUT_SECONDS) -> bool:
        """Stop the broker in good order; kill it only after the time limit.

        Returns
        -------
        bool
            False when it did not run.
        """
        with self._lock():
            process = self._running()
            if process is None:
                return False
            self._signal(process, signal.SIGTERM)
            if not self._await_end(process, timeout_seconds):
                self._signal(process, signal.SIGKILL)
                self._await_end(process, timeout_seconds)
            self._pid_file.unlink(missing_ok=True)
        return True

    def kill(self) -> bool:
        """End the broker at once by SIGKILL, as a crash would; False when it did not run."""
        with self._lock():
            process = self._running()
            if process is None:
                return False
            self._signal(process, signal.SIGKILL)
            self._await_end(process, STOP_TIMEOUT_SECONDS)
        return True

    def status(self) -> Status:
        """Return what is known of the broker, whether it runs or not."""
        process = self._running()
        return Status(
            running=process is not None,
            pid=process.pid if process else None,
            address=f"{ports.LOOPBACK}:{process.port}" if process else None,
            cluster_id=self._cluster_id(),
            data_bytes=_tree_bytes(self._data),
            log=str(self.log),
            topics=_topics(process.port) if process else [],
        )

    @contextlib.contextmanager
    def _lock(self) -> Iterator[None]:
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / "lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _choose_port(self) -> int:
        if self.port == 0:
            return ports.free_port()
        if not ports.is_free(self.port):
            raise PortTakenError(self.port)
        return self.port

    def _write_settings(self, port: int) -> None:
        self._data.mkdir(exist_ok=True)
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self._properties.write_text(
            _SERVER_PROPERTIES.format(
                port=port,
                controller_port=ports.free_port(),
                data=self._data,
                max_bytes=MAX_MESSAGE_BYTES,
            ),
            encoding="utf-8",
        )
        self._log4j.write_text(_LOG4J.format(log=self.log), encoding="utf-8")

    @property
    def _log4j(self) -> Path:
        return self._folder / "log4j2.properties"

    def _java(self, *options: str) -> list[str]:
        """Return the start of a Java command line; most of a start is class loading."""
        return [
            str(java_path()),
            *options,
            "-XX:+UseSerialGC",
            "-XX:TieredStopAtLevel=1",
            "-Xshare:auto",
            f"-Dlog4j2.configurationFile={self._log4j}",
            "-cp",
            os.pathsep.join(str(jar) for jar in jars.jar_files("kafka")),
        ]

    def _format(self) -> None:
        """Give an empty data folder its cluster id, as KRaft demands before a first start."""
        cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        # Kafka's own tools would take a leading dash for an option.
        cluster_id = "A" + cluster_id[1:]
        command = [*self._java("-Xmx256m"), "kafka.tools.StorageTool", "format"]
        command += ["--cluster-id", cluster_id, "--config", str(self._properties)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            told = (done.stderr or done.stdout).strip()
            msg = f"The broker's data folder cannot be formatted: {told}"
            raise UserError(
                msg,
                f"If its data can go, remove {self._folder} and start again.",
            )

    def _launch(self, port: int) -> _Process:
        token = f"-Dgemsbok.broker={uuid.uuid4().hex}"
        heap = (token, "-Xms64m", f"-Xmx{self.heap_mb}m")
        command = [*self._java(*heap), "kafka.Kafka", str(self._properties)]
        with self._output.open("wb") as output:
            child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=self._folder,
                start_new_session=True,
            )
        _children[child.pid] = child
        process = _Process(child.pid, token, port)
        write_atomically(self._pid_file, json.dumps(asdict(process)))
        return process

    def _await_answer(self, process: _Process) -> None:
        """Wait until this very broker answers: another one may have been quicker at the port."""
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        try:
            while (found := cluster_at(process.port)) != self._cluster_id():
                ended = _children[process.pid].poll() is not None
                if found is not None or (ended and not ports.is_free(process.port)):
                    raise PortTakenError(process.port)
                if ended or time.monotonic() > deadline:
                    raise self._failed_start(ended)
                time.sleep(POLL_SECONDS)
        except BaseException:
            # Ctrl-C too: a broker that nobody waits for must not stay behind.
            self._signal(process, signal.SIGKILL)
            self._await_end(process, STOP_TIMEOUT_SECONDS)
            self._pid_file.unlink(missing_ok=True)
            raise

    def _failed_start(self, ended: bool) -> UserError:
        what = "ended at once" if ended else f"did not answer in {START_TIMEOUT_SECONDS:.0f} s"
        told = last_lines(self._output) or last_lines(self.log)
        return UserError(
            f"The broker {what}. Its last words:\n{told}", f"See {self.log}.", EXIT_UNAVAILABLE
        )

    def _running(self) -> _Process | None:
        try:
            process = _Process(**json.loads(self._pid_file.read_text(encoding="utf-8")))
        except (FileNotFoundError, ValueError, TypeError):
            return None
        return process if process.is_alive() else None

    def _signal(self, process: _Process, number: signal.Signals) -> None:
        # Looked at again: by now the process may have ended and its id be another's.
        if process.is_alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, number)

    def _await_end(self, process: _Process, timeout_seconds: float) -> bool:
        deadline = time.monotonic() + timeout_seconds
        while process.is_alive():
            if time.monotonic() > deadline:
                return False
            time.sleep(POLL_SECONDS)
        child = _children.pop(process.pid, None)
        if child is not None:
            child.wait()
        return True

    def _cluster_id(self) -> str | None:
        try:
            lines = (self._data / "meta.properties").read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return None
        return next((line[11:] for line in lines if line.startswith("cluster.id=")), None)


def cluster_at(port: int) -> str | None:
    """Return the cluster id of the Kafka that answers at the port; None where none does.

    A broker answers when its metadata name a broker: before that it takes no records.
    """
    if ports.is_free(port):
        return None
    try:
        with _admin(port) as admin:
            found = admin.describe_cluster()
    except _kafka_error():
        return None
    return str(found["cluster_id"]) if found["brokers"] else None


def _topics(port: int) -> list[str]:
    try:
        with _admin(port) as admin:
            return sorted(name for name in admin.list_topics() if not name.startswith("__"))
    except _kafka_error():
        return []


@contextlib.contextmanager
def _admin(port: int) -> Iterator[Any]:
    from kafka import KafkaAdminClient

    client = KafkaAdminClient(
        bootstrap_servers=f"{ports.LOOPBACK}:{port}",
        request_timeout_ms=5000,
        bootstrap_timeout_ms=5000,
    )
    try:
        yield client
    finally:
        client.close()


def _kafka_error() -> type[Exception]:
    from kafka.errors import KafkaError

    return KafkaError  # type: ignore[no-any-return]


def _tree_bytes(folder: Path) -> int:
    """Return the disk space in bytes: Kafka's index files are sparse."""
    total = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            total += path.lstat().st_blocks * 512
    return total
