"""A broker to be harmed: one Kafka node whose clients pass through a proxy, and tests do not.

It has two listeners.  Layers bootstrap at the proxy, which stands in the advertised listener of
theirs; the test looks at the topics by a listener of its own, which no fault of the proxy hits.
"""

from __future__ import annotations

import base64
import os
import subprocess
import uuid
from pathlib import Path
from types import TracebackType

from kafka import KafkaAdminClient
from kafka.errors import KafkaError

from stack import jars, ports
from stack.files import last_lines
from stack.java import java_path
from tests.faults.proxy import Proxy
from tests.integration.stack import Layer
from tests.waiting import wait_until

_PROPERTIES = """\
process.roles=broker,controller
node.id=1
listeners=LAYERS://127.0.0.1:{layers},TESTS://127.0.0.1:{tests},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=LAYERS://127.0.0.1:{proxy},TESTS://127.0.0.1:{tests}
listener.security.protocol.map=LAYERS:PLAINTEXT,TESTS:PLAINTEXT,CONTROLLER:PLAINTEXT
controller.listener.names=CONTROLLER
inter.broker.listener.name=TESTS
controller.quorum.voters=1@127.0.0.1:{controller}
log.dirs={data}
auto.create.topics.enable=false
message.max.bytes=71303168
offsets.topic.num.partitions=1
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
num.network.threads=2
num.io.threads=4
background.threads=2
broker.heartbeat.interval.ms=500
broker.session.timeout.ms=3000
log.cleaner.dedupe.buffer.size=16777216
"""

_LOG4J = """\
rootLogger.level=info
rootLogger.appenderRef.out.ref=out
appender.out.type=Console
appender.out.name=out
appender.out.layout.type=PatternLayout
appender.out.layout.pattern=%d{ISO8601} %p %m (%c)%n%ex
"""


class FaultBroker:
    """One node and the proxy before it; its ports stay the same over restarts.

    Parameters
    ----------
    folder : Path
        For its settings, its logs and its proxy; made where it is missing.
    data : Path, optional
        For its topics; inside `folder` by default.
    seed : int
        Of the proxy's choices.

    Attributes
    ----------
    proxy : Proxy
        What the layers connect to.
    layer : Layer or None
        Its process, as tests pause and kill one.
    """

    def __init__(self, folder: Path, data: Path | None = None, seed: int = 0) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.data = data or folder / "data"
        self._layers, self._tests = ports.free_port(), ports.free_port()
        self.proxy = Proxy(self._layers, seed)
        self.layer: Layer | None = None
        self._starts = 0

    def __enter__(self) -> FaultBroker:
        self.proxy.__enter__()
        try:
            self._write_settings()
            self.start()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()
        self.proxy.__exit__(kind, error, trace)

    @property
    def address(self) -> str:
        """``host:port`` by which layers reach it: the proxy's."""
        return self.proxy.address

    @property
    def direct_address(self) -> str:
        """``host:port`` by which tests reach it."""
        return f"{ports.LOOPBACK}:{self._tests}"

    def start(self) -> None:
        """Start it and wait until it answers; its topics are those that it had."""
        log = self.folder / f"broker-{self._starts}.log"
        self._starts += 1
        with log.open("wb") as output:
            process = subprocess.Popen(
                [*self._java("-Xmx384m"), "kafka.Kafka", str(self._properties)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.layer = Layer(process, log)
        wait_until(lambda: self._answers(process, log), "the broker answers", 120)

    def kill(self) -> None:
        """End it at once by SIGKILL, as a crash would."""
        if self.layer is not None:
            if self.layer.process.poll() is None:
                self.layer.kill()
            self.layer = None

    @property
    def _properties(self) -> Path:
        return self.folder / "server.properties"

    def _write_settings(self) -> None:
        self.data.mkdir(parents=True, exist_ok=True)
        text = _PROPERTIES.format(
            layers=self._layers,
            tests=self._tests,
            controller=ports.free_port(),
            proxy=self.proxy.port,
            data=self.data,
        )
        self._properties.write_text(text, encoding="utf-8")
        (self.folder / "log4j2.properties").write_text(_LOG4J, encoding="utf-8")
        # Kafka's own tools would take a leading dash for an option.
        cluster = "A" + base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")[1:]
        command = [*self._java("-Xmx256m"), "kafka.tools.StorageTool", "format"]
        command += ["--cluster-id", cluster, "--config", str(self._properties)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr or done.stdout

    def _java(self, *options: str) -> list[str]:
        return [
            str(java_path()),
            *options,
            f"-Dlog4j2.configurationFile={self.folder / 'log4j2.properties'}",
            "-cp",
            os.pathsep.join(str(jar) for jar in jars.jar_files("kafka")),
        ]

    def _answers(self, process: subprocess.Popen[bytes], log: Path) -> bool:
        assert process.poll() is None, f"the broker ended:\n{last_lines(log, 20)}"
        if ports.is_free(self._tests) or ports.is_free(self._layers):
            return False
        try:
            admin = KafkaAdminClient(bootstrap_servers=self.direct_address, request_timeout_ms=5000)
        except KafkaError:
            return False
        try:
            return bool(admin.describe_cluster()["brokers"])
        except KafkaError:
            return False
        finally:
            admin.close()
