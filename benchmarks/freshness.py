"""Time from the acknowledgement of an event to its effect, with real processes and broker.

Events are sent open-loop at a fixed rate, in POST requests of one or a few events.  One in ten is
of a new user; freshness is the time from its acknowledgement until ``/recommend/<user>`` replies
200.  Polling takes a few milliseconds, so the figure is too large by up to one round of polling,
which is printed with it.

    python -m benchmarks.freshness [--rate 100] [--seconds 60]
"""

from __future__ import annotations

import argparse
import http.client
import random
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.alongside import alongside
from benchmarks.report import Figure, run
from stack.local_kafka import LocalKafka
from tests.integration.stack import Stack, stack
from tests.waiting import wait_until

USERS, ITEMS, PAST = 2000, 1000, 40_000
WARM_UP_EVENTS = 200
#: Seconds after which a new user that is still unknown is an error.
LONGEST = 60.0


@dataclass
class Sample:
    """New users that are not visible yet, and the freshness of those that are."""

    waiting: deque[tuple[str, float]] = field(default_factory=deque)
    seconds: list[float] = field(default_factory=list)
    rounds: list[float] = field(default_factory=list)

    def poll(self, port: int, done: threading.Event) -> None:
        """Poll for each waiting new user until `done` is set and all are visible."""
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        while self.waiting or not done.is_set():
            started = time.perf_counter()
            for _ in range(len(self.waiting)):
                user, acknowledged = self.waiting.popleft()
                connection.request("GET", f"/recommend/{user}?howMany=1")
                reply = connection.getresponse()
                reply.read()
                if reply.status == 200:
                    self.seconds.append(time.perf_counter() - acknowledged)
                elif reply.status == 404 and time.perf_counter() < acknowledged + LONGEST:
                    self.waiting.append((user, acknowledged))
                else:
                    message = f"{user} is answered {reply.status} after {LONGEST:.0f} s at most"
                    raise RuntimeError(message)
            self.rounds.append(time.perf_counter() - started)
            time.sleep(0.005)
        connection.close()


def send(port: int, rate: float, count: int, sample: Sample, draw: random.Random) -> float:
    """Send events on schedule; return the achieved rate."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    started, sent = time.perf_counter(), 0
    while sent < count:
        due = min(count, int((time.perf_counter() - started) * rate) + 1)
        lines, newcomers = [], []
        for number in range(sent, due):
            newcomer = number % 10 == 0
            user = f"new{rate:g}-{number}" if newcomer else f"u{draw.randrange(USERS)}"
            lines.append(f"{user},i{int(ITEMS * draw.random() ** 2)},1")
            newcomers += [user] if newcomer else []
        if lines:
            post(connection, "\n".join(lines))
            acknowledged = time.perf_counter()
            sample.waiting.extend((user, acknowledged) for user in newcomers)
            sent = due
        time.sleep(max(0.0, started + sent / rate - time.perf_counter()))
    connection.close()
    return count / (time.perf_counter() - started)


def post(connection: http.client.HTTPConnection, body: str) -> None:
    """POST lines; raise unless they are acknowledged."""
    connection.request("POST", "/ingest", body, {"Content-Type": "text/csv"})
    reply = connection.getresponse()
    if reply.status != 204:
        message = f"ingest answered {reply.status}: {reply.read()[:200]!r}"
        raise RuntimeError(message)
    reply.read()


def prepare(loop: Stack, draw: random.Random) -> int:
    """Train a model, start and warm up speed and serving; return serving's port."""
    loop.start("serving")
    wait_until(lambda: loop.status_of("/livez") == 200, "serving answers")
    lines = [f"u{draw.randrange(USERS)},i{int(ITEMS * draw.random() ** 2)},1" for _ in range(PAST)]
    loop.ingest(lines)
    done = loop.batch_once()
    if done.process.returncode:
        raise RuntimeError(done.log.read_text())
    loop.start("speed")
    wait_until(lambda: loop.status_of("/ready") == 200, "the model is served")
    port = loop.settings.serving.api.port
    sampled(port, 50, WARM_UP_EVENTS, draw)
    return port


def sampled(port: int, rate: float, count: int, draw: random.Random) -> tuple[Sample, float]:
    """Send events while polling for new users; return the sample and the achieved rate."""
    sample = Sample()
    with alongside(partial(sample.poll, port)):
        reached = send(port, rate, count, sample, draw)
    return sample, reached


def measure(given: argparse.Namespace) -> Iterator[Figure]:
    """Measure; yield median and tail."""
    draw = random.Random(11)
    with (
        tempfile.TemporaryDirectory(prefix="freshness-") as folder,
        LocalKafka(Path(folder), 0) as kafka,
        stack(Path(folder), kafka.address, "als", **{"als.hyperparams.features": 50}) as loop,
    ):
        port = prepare(loop, draw)
        sample, reached = sampled(port, given.rate, int(given.rate * given.seconds), draw)
    seconds = np.array(sample.seconds)
    notes = {
        "events/s": round(reached),
        "newcomers": len(seconds),
        "round of polling": f"{np.median(sample.rounds):.4f} s",
    }
    for name, quantile, asked in (("p50", 0.5, "1 s"), ("p90", 0.9, ""), ("p99", 0.99, "3 s")):
        value = float(np.quantile(seconds, quantile))
        yield Figure(f"acknowledged to visible, {name}", "s", [value], asked=asked, notes=notes)


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description="Freshness of answers.")
    parser.add_argument("--rate", type=float, default=100.0, help="events per second")
    parser.add_argument("--seconds", type=float, default=60.0, help="length of the measured part")
    run("freshness", measure, parser, seconds=3.0)


if __name__ == "__main__":
    main()
