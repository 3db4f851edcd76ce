"""Real processes for integration tests: layers that can be started, asked, and killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from common.broker import Broker, open_broker
from common.config import Settings
from common.runtime.configuration import load
from stack import ports


@dataclass
class Layer:
    """One process of a layer."""

    process: subprocess.Popen[bytes]
    log: Path

    def kill(self) -> None:
        """End it at once with all its children, Spark's Java among them."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(30)

    def stop(self) -> int:
        """End it in good order; returns its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)


@dataclass
class Stack:
    """A configuration, its topics, and the processes that were started with it."""

    folder: Path
    flags: dict[str, object]
    layers: list[Layer] = field(default_factory=list)

    @property
    def settings(self) -> Settings:
        """The configuration that all processes get."""
        return load(flags=self.flags, environment={})

    @property
    def url(self) -> str:
        """Address of the serving layer."""
        return f"http://127.0.0.1:{self.settings.serving.api.port}"

    def broker(self) -> Broker:
        """Open the broker."""
        return open_broker(self.settings)

    def create_topics(self) -> None:
        """Make the four topics."""
        names, updates = self.settings.input_topic, self.settings.update_topic
        with self.broker() as broker:
            broker.create_topic(names.name, names.partitions)
            broker.create_topic(names.dead_letter, 1)
            broker.create_topic(updates.name, 1)
            broker.create_topic(updates.dead_letter, 1)

    def start(self, layer: str, *arguments: str, env: Mapping[str, str] | None = None) -> Layer:
        """Start a layer in a process group of its own."""
        command = [sys.executable, "-m", f"{layer}_layer", *arguments]
        for key, value in self.flags.items():
            command += ["--set", f"{key}={value}"]
        log = self.folder / f"{layer}-{len(self.layers)}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                command,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**os.environ, **(env or {})},
            )
        started = Layer(process, log)
        self.layers.append(started)
        return started

    def batch_once(self, env: Mapping[str, str] | None = None) -> Layer:
        """Run one generation and wait for its end."""
        layer = self.start("batch", "--once", env=env)
        layer.process.wait(180)
        return layer

    def get(self, path: str, **options: object) -> httpx.Response:
        """GET from the serving layer, as JSON."""
        headers = {"Accept": "application/json"}
        return httpx.get(self.url + path, headers=headers, timeout=30, **options)  # type: ignore[arg-type]

    def status_of(self, path: str) -> int:
        """Status of a GET; 0 while nobody answers."""
        try:
            return self.get(path).status_code
        except httpx.TransportError:
            return 0

    def ingest(self, lines: list[str]) -> None:
        """POST lines; they are acknowledged when this returns."""
        reply = httpx.post(
            f"{self.url}/ingest",
            content="\n".join(lines),
            headers={"Content-Type": "text/csv"},
            timeout=30,
        )
        assert reply.status_code == 204, reply.text

    def close(self) -> None:
        """Kill what still runs."""
        for layer in self.layers:
            if layer.process.poll() is None:
                layer.kill()


@contextmanager
def stack(folder: Path, broker: str, app: str, **flags: object) -> Iterator[Stack]:
    """Make a stack with topics and folders of its own; everything ends with the block."""
    name = folder.name.replace("_", "-")
    made = Stack(
        folder,
        {
            "app": app,
            "input_topic.broker": broker,
            "input_topic.name": f"{name}.input",
            "input_topic.partitions": 2,
            "update_topic.name": f"{name}.update",
            "batch.storage.data_dir": str(folder / "data"),
            "batch.storage.model_dir": str(folder / "model"),
            "batch.spark.master": "local[2]",
            "speed.spark.master": "local[2]",
            "serving.api.port": ports.free_port(),
            **flags,
        },
    )
    made.create_topics()
    try:
        yield made
    finally:
        made.close()
