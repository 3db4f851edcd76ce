"""The serving layer as a process of its own, with a broker inside it that takes our updates."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from common.messages import MODEL_REF, Stamp
from common.model_store import Generation

ROOT = Path(__file__).resolve().parent.parent
READY_SECONDS = 300

#: Each line of its standard input becomes a record: its key, value and headers as JSON.
_SCRIPT = """
import json, sys, threading
from common.broker.memory import MemoryBroker
from serving_layer.__main__ import main
broker = MemoryBroker.named("memory://here")
broker.create_topic("gemsbok.input", 1)
broker.create_topic("gemsbok.update", 1)
def forward():
    producer = broker.producer()
    for line in sys.stdin:
        key, value, headers = json.loads(line)
        producer.send(
            "gemsbok.update", key, value, [(name, text.encode()) for name, text in headers]
        )
threading.Thread(target=forward, daemon=True).start()
sys.exit(main(sys.argv[1:]))
"""


class ServingProcess:
    """A started process; ready when the block begins, gone when it ends.

    Attributes
    ----------
    seconds_to_ready : float
        From the start of the process until ``/ready`` said 200.
    """

    def __init__(self, model_dir: Path, **flags: object) -> None:
        self.port = _free_port()
        pairs = {
            "app": "als",
            "input_topic.broker": "memory://here",
            "batch.storage.model_dir": model_dir,
            "serving.api.port": self.port,
            **{name.replace("__", "."): value for name, value in flags.items()},
        }
        command = [sys.executable, "-c", _SCRIPT]
        for key, value in pairs.items():
            command += ["--set", f"{key}={value}"]
        self._log = (model_dir.parent / f"serving-{self.port}.log").open("w+")
        started = time.perf_counter()
        self._process = subprocess.Popen(
            command,
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stderr=self._log,
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
        self._log.close()

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

    def update(self, payload: str) -> None:
        """Put one ``UP`` on the update topic."""
        self._put("UP", payload)

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
        self._put(MODEL_REF, generation.reference, headers)

    def _put(self, key: str, value: str, headers: Sequence[tuple[str, str]] = ()) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([key, value, list(headers)]) + "\n")
        self._process.stdin.flush()

    def log(self) -> str:
        """Return what the process has written."""
        self._log.seek(0)
        return self._log.read()

    def memory_mb(self) -> Mapping[str, float]:
        """Return resident megabytes, and those of them that no other process shares."""
        text = Path(f"/proc/{self._process.pid}/smaps_rollup").read_text()
        sizes = {line.split()[0]: int(line.split()[1]) / 1000 for line in text.splitlines()[1:]}
        return {
            "resident": sizes["Rss:"],
            "private": sizes["Private_Clean:"] + sizes["Private_Dirty:"],
        }

    def cpu_seconds(self) -> float:
        """Return the processor time that the process has used."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

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


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
