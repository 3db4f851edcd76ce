"""The serving layer as a process of its own, and the way by which our updates reach it.

Mostly that is a broker in the process's own memory.  Workers share no such thing: for them there
is a real broker.
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
#: Key, value and headers.
Sent = tuple[str, str, Headers]

#: Each line of its standard input becomes a record: its key, value and headers as JSON.
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


class Way(Protocol):
    """How the process is started, and how records come onto its update topic."""

    @property
    def command(self) -> Sequence[str]:
        """Its beginning."""

    @property
    def flags(self) -> Mapping[str, str]:
        """Settings that say where the topics are."""

    def send(self, process: subprocess.Popen[str], records: Sequence[Sent]) -> None:
        """Put records on the update topic."""

    def close(self) -> None:
        """Let go of the broker."""


class InMemory:
    """By its standard input, to a broker in its memory."""

    command = (sys.executable, "-c", _SCRIPT)
    flags: Mapping[str, str] = {"input_topic.broker": "memory://here"}

    def send(self, process: subprocess.Popen[str], records: Sequence[Sent]) -> None:
        """Put records on the update topic."""
        assert process.stdin is not None
        # At once, as a producer does: each wakes a thread there that takes Python's lock.
        process.stdin.write("".join(json.dumps(record) + "\n" for record in records))
        process.stdin.flush()

    def close(self) -> None:
        """Do nothing: the broker ends with the process."""


class InKafka:
    """By a real broker, in topics that begin with a name of their own."""

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
    """A started process; ready when the block begins, gone when it ends.

    Parameters
    ----------
    model_dir : Path
        The store, in a folder that may be written to.
    flags : mapping, optional
        Further settings.
    way : Way, optional
        :class:`InMemory` by default.

    Attributes
    ----------
    seconds_to_ready : float
        From the start of the process until ``/ready`` said 200.
    """

    def __init__(
        self, model_dir: Path, flags: Mapping[str, object] | None = None, way: Way | None = None
    ) -> None:
        self.port = free_port()
        self._way = way or InMemory()
        pairs = {
            "app": "als",
            "batch.storage.model_dir": model_dir,
            "serving.api.port": self.port,
            **self._way.flags,
            **(flags or {}),
        }
        command = [*self._way.command]
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
        self._way.close()

    def get(self, path: str) -> tuple[int, Any]:
        """Return the status of a GET and the JSON that came, None where there was none."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request("GET", path, headers={"Accept": "application/json"})
            reply = connection.getresponse()
            body = reply.read()
            return reply.status, json.loads(body) if body else None
        finally:
            connection.close()

    def update(self, *payloads: str) -> None:
        """Put each as an ``UP`` on the update topic."""
        self._way.send(self._process, [("UP", payload, ()) for payload in payloads])

    def publish(self, generation: Generation) -> None:
        """Put a generation on the update topic, by reference."""
        manifest = generation.manifest
        stamp = Stamp(
            generation.id,
            sequence=0,
            sha256=manifest.files[manifest.model_file],
            manifest=generation.manifest_sha256,
            updates=0,
        )
        headers = [(name, value.decode()) for name, value in stamp.to_headers()]
        self._way.send(self._process, [(MODEL_REF, generation.reference, headers)])

    def log(self) -> str:
        """Return what the process has written."""
        return self._log.read_text(encoding="utf-8")

    def memory_mb(self) -> Mapping[str, float]:
        """Return the megabytes of the process and its children: RSS, and PSS."""
        found = memory.of(self._process.pid)
        return {"RSS": found.rss / 1e6, "PSS": found.pss / 1e6}

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
