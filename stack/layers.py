"""What ``up`` starts, ``down`` stops and ``status`` shows: the broker and the three layers."""

from __future__ import annotations

import time
import urllib.error
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from stack.local_kafka import LocalKafka
from stack.processes import Background
from stack.serving_http import open_probe

#: In the order of their start; they stop in the opposite order.
LAYERS = ("serving", "speed", "batch")
HTTP_TIMEOUT_SECONDS = 5.0
#: What the serving layer logs once it has its port: another process there may answer too.
LISTENING = b" listening on "
#: What the other layers log when they have been started.
STARTED = b" layer started"


@dataclass(frozen=True)
class Row:
    """One process as ``status`` shows it.

    Attributes
    ----------
    name : str
        ``kafka`` or the layer.
    state : str
        ``running`` or ``stopped``; for serving ``ready``, or ``not ready`` without a model.
    pid : int or None
        Its number.
    uptime_seconds : float or None
        How long it has run; None where that is not known.
    address : str
        Where it listens; empty where it does not.
    log : str
        Its log file.
    """

    name: str
    state: str
    pid: int | None
    uptime_seconds: float | None
    address: str
    log: str


def rows(home: Path) -> Iterator[Row]:
    """Yield what runs under the state folder `home`: the embedded broker, if used, and layers."""
    if (home / "kafka").exists():
        broker = LocalKafka(home).status()
        state = "running" if broker.running else "stopped"
        yield Row("kafka", state, broker.pid, None, broker.address or "", broker.log)
    for name in LAYERS:
        yield _row(Background(home, name))


def ready_code(url: str) -> int | None:
    """Return the status that the serving layer's ``/ready`` answers, None if it does not."""
    try:
        with open_probe(f"{url}/ready", HTTP_TIMEOUT_SECONDS) as reply:
            return int(reply.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code
    except OSError:
        return None


def started_broker_mark(home: Path) -> Path:
    """Return the file that says that ``up`` started the broker, so that ``down`` stops it."""
    return home / "run" / "kafka-by-up"


def _row(layer: Background) -> Row:
    running = layer.find()
    if running is None:
        return Row(layer.name, "stopped", None, None, "", str(layer.log))
    state = "running"
    if running.address:
        state = "ready" if ready_code(running.address) == 200 else "not ready"
    uptime = round(time.time() - running.since, 1)
    return Row(layer.name, state, running.pid, uptime, running.address, str(layer.log))
