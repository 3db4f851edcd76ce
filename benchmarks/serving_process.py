"""Runs the serving layer as a process, and sends it records of the update topic.

The records go through a broker in the process's memory; several workers cannot share one, so for
them there is a real broker.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

from benchmarks import memory
from common.base.paths import ROOT
from common.broker import open_broker
from common.runtime.configuration import load
from common.store.generations import Generation
from common.wire.messages import MODEL_REF, Stamp
from stack.ports import free_port

READY_SECONDS = 600
INPUT, UPDATE = "gemsbok.input", "gemsbok.update"

Headers = Sequence[tuple[str, str]]
#: Key, value and headers of a record.
Sent = tuple[str, str, Headers]

#: Program that turns each line of its standard input, with key, value and headers as JSON, into a
#: record.
_SCRIPT = f"""
import json, sys, threading
from common.broker.memory import MemoryBroker
from serving_layer.__main__ import main
broker = MemoryBroker.named("memory://here")
for topic in ("{INPUT}", "{UPDATE}"):
    broker.create_topic(topic, 1)
def forward():
    producer = broker.producer()
    for line in sys.stdin:
        key, value, headers = json.loads(line)
        producer.send("{UPDATE}", key, value, [(name, text.encode()) for name, text in headers])
threading.Thread(target=forward, daemon=True).start()
sys.exit(main(sys.argv[1:]))
"""


class Transport(Protocol):
    """Starts the process and sends records to its update topic."""

    @property
    def command(self) -> Sequence[str]:
        """The beginning of the process's command."""

    @property
    def flags(self) -> Mapping[str, str]:
        """The settings of broker and topics."""

    def send(self, process: subprocess.Popen[str], records: Sequence[Sent]) -> None:
        """Put records on the update topic."""

    def close(self) -> None:
        """Disconnect from the broker."""


class MemoryTransport:
    """Sends records by the process's standard input to a broker in its memory."""

    command = (sys.executable, "-c", _SCRIPT)
    flags: Mapping[str, str] = {"input_topic.broker": "memory://here"}

    def send(self, process: subprocess.Popen[str], records: Sequence[Sent]) -> None:
        """Put records on the update topic."""
        assert process.stdin is not None
        # Written in one piece, as by a producer: each write wakes a thread that takes the GIL.
        process.stdin.write("".join(json.dumps(record) + "\n" for record in records))
        process.stdin.flush()

    def close(self) -> None:
        """Do nothing: the broker ends with the process."""


class KafkaTransport:
    """Sends records by a real broker, in topics with a prefix of their own."""

    command = (sys.executable, "-m", "serving_layer")

    def __init__(self, address: str, name: str) -> None:
        self.flags = {
            "input_topic.broker": address,
            "input_topic.name": f"{name}.input",
            "update_topic.name": f"{name}.update",
        }
        self._broker = open_broker(load(flags=self.flags, environment={}))
        for topic in (self.flags["input_topic.name"], self.flags["update_topic.name"]):
            self._broker.create_topic(topic, 1)
        self._producer = self._broker.producer()

    def send(self, process: subprocess.Popen[str], records: Sequence[Sent]) -> None:
        """Put records on the update topic."""
        for key, value, headers in records:
            encoded = [(name, text.encode()) for name, text in headers]
            self._producer.send(self.flags["update_topic.name"], key, value, encoded)

    def close(self) -> None:
        """Disconnect."""
        self._producer.close()
        self._broker.close()


class ServingProcess:
    """A running serving layer; it is ready after construction, and stopped at the block's end.

    Parameters
    ----------
    model_dir : Path
        The model store, in a writeable folder.
    flags : mapping, optional
        Further settings.
    transport : Transport, optional
        :class:`MemoryTransport` by default.

    Attributes
    ----------
    seconds_to_ready : float
        Time from the start of the process until ``/ready`` replied 200.
    """

    def __init__(
        self,
        model_dir: Path,
        flags: Mapping[str, object] | None = None,
        transport: Transport | None = None,
    ) -> None:
        self.port = free_port()
        self._transport = transport or MemoryTransport()
        pairs = {
            "app": "als",
            "batch.storage.model_dir": model_dir,
            "serving.api.port": self.port,
            **self._transport.flags,
            **(flags or {}),
        }
        command = [*self._transport.command]
        for key, value in pairs.items():
            command += ["--set", f"{key}={value}"]
        self._log = model_dir.parent / f"serving-{self.port}.log"
        started = time.perf_counter()
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                command,
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stderr=log,
                text=True,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
            )
        self._wait_until_ready(started + READY_SECONDS)
        self.seconds_to_ready = time.perf_counter() - started

    def __enter__(self) -> ServingProcess:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(60)
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._transport.close()

    def get(self, path: str) -> tuple[int, Any]:
        """GET a path; return the status, and the JSON of the reply or None."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request("GET", path, headers={"Accept": "application/json"})
            reply = connection.getresponse()
            body = reply.read()
            return reply.status, json.loads(body) if body else None
        finally:
            connection.close()

    def update(self, *payloads: str) -> None:
        """Send each payload as an ``UP`` to the update topic."""
        self._transport.send(self._process, [("UP", payload, ()) for payload in payloads])

    def publish(self, generation: Generation) -> None:
        """Send a generation's MODEL-REF to the update topic."""
        manifest = generation.manifest
        stamp = Stamp(
            generation.id,
            sequence=0,
            sha256=manifest.files[manifest.model_file],
            manifest=generation.manifest_sha256,
            updates=0,
        )
        headers = [(name, value.decode()) for name, value in stamp.to_headers()]
        self._transport.send(self._process, [(MODEL_REF, generation.reference, headers)])

    def log(self) -> str:
        """Return the process's log."""
        return self._log.read_text(encoding="utf-8")

    def memory_mb(self) -> Mapping[str, float]:
        """Return RSS and PSS of the process and its children in megabytes."""
        used = memory.of(self._process.pid)
        return {"RSS": used.rss / 1e6, "PSS": used.pss / 1e6}

    def _wait_until_ready(self, deadline: float) -> None:
        while time.perf_counter() < deadline and self._process.poll() is None:
            try:
                if self.get("/ready")[0] == 200:
                    return
            except (OSError, http.client.HTTPException):
                pass
            time.sleep(0.02)
        self._process.kill()
        message = f"the serving layer is not ready:\n{self.log()[-2000:]}"
        raise RuntimeError(message)
