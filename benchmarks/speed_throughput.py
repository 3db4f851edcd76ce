"""Events per second that speed layer and serving sustain, for ALS with 50 features.

    python -m benchmarks.speed_throughput [--rates 1000 5000 10000 20000] [--seconds 20]

Processes and broker are real.  Events are written directly to the input topic, open-loop, at each
rate; a reader of the update topic records when a PROGRESS covers them.  The lag at a time is the
age of the newest event folded in.  A rate is *sustained* if the lag does not grow: that of the
last quarter exceeds that of the second quarter by at most half a second.
"""

from __future__ import annotations

import argparse
import math
import tempfile
import threading
import time
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.alongside import alongside
from benchmarks.report import Figure, run
from common.broker import Broker
from common.wire.messages import PROGRESS, Progress
from stack.local_kafka import LocalKafka
from tests.integration.stack import Stack, stack
from tests.waiting import wait_until

USERS, ITEMS = 100_000, 20_000
#: Pause in seconds between two sends.
TICK = 0.01
SETTLE_SECONDS = 60.0


@dataclass
class Ledger:
    """Times, and numbers of events sent and folded in until then."""

    sent: list[tuple[float, int]] = field(default_factory=list)
    folded: list[tuple[float, int]] = field(default_factory=list)

    def lags(self) -> tuple[list[float], list[float]]:
        """Return the time and the lag in seconds of each PROGRESS."""
        counts = [count for _, count in self.sent]
        times, lags = [], []
        for time_, count in self.folded:
            first_sent = min(bisect_left(counts, count), len(counts) - 1)
            times.append(time_)
            lags.append(time_ - self.sent[first_sent][0])
        return times, lags


def lines(draw: np.random.Generator, count: int) -> list[tuple[str, str]]:
    """Return pairs of key and line; one event in fifty is of a new user."""
    users = draw.integers(0, int(USERS * 1.02), count)
    items = (ITEMS * draw.random(count) ** 2).astype(int)
    return [(f"u{u}", f"u{u},i{i},1") for u, i in zip(users.tolist(), items.tolist(), strict=True)]


def watch(loop: Stack, ledger: Ledger, start: int, done: threading.Event) -> None:
    """Record each PROGRESS until `done` is set; offsets count from `start`."""
    with loop.broker() as broker:
        reader = broker.reader(loop.settings.update_topic.name, "latest")
        while not done.is_set():
            for record in reader.poll(0.05):
                if record.key == PROGRESS.encode() and record.value is not None:
                    at = sum(Progress.from_value(record.value.decode()).offsets.values())
                    ledger.folded.append((time.perf_counter(), at - start))
        reader.close()


def send(broker: Broker, topic: str, rate: float, pairs: list[tuple[str, str]]) -> Ledger:
    """Send on schedule; return the times of sending."""
    ledger, producer = Ledger(), broker.producer()
    started, sent = time.perf_counter(), 0
    while sent < len(pairs):
        due = min(len(pairs), int((time.perf_counter() - started) * rate) + 1)
        for key, line in pairs[sent:due]:
            producer.send(topic, key, line)
        sent = due
        ledger.sent.append((time.perf_counter(), sent))
        time.sleep(TICK)
    producer.flush(60)
    producer.close()
    return ledger


def prepare(loop: Stack, draw: np.random.Generator, past: int) -> None:
    """Train a model; start speed and serving."""
    topic = loop.settings.input_topic.name
    with loop.broker() as broker:
        producer = broker.producer()
        producer.send_all(topic, lines(draw, past), timeout=120)
        producer.close()
    done = loop.batch_once()
    if done.process.returncode:
        raise RuntimeError(done.log.read_text())
    loop.start("serving")
    loop.start("speed")
    wait_until(lambda: loop.status_of("/ready") == 200, "the model is served", 120)


def at_rate(loop: Stack, rate: float, seconds: float, draw: np.random.Generator) -> Figure:
    """Measure one rate; return the median lag, with its changes as notes."""
    topic = loop.settings.input_topic.name
    pairs = lines(draw, int(rate * seconds))
    with loop.broker() as broker:
        before = sum(broker.end_offsets(topic).values())
        seen = Ledger()
        with alongside(partial(watch, loop, seen, before)):
            wait_until(lambda: loop.status_of("/ready") != 0, "serving answers")
            ledger = send(broker, topic, rate, pairs)
            ended = time.perf_counter()
            wait_until(
                lambda: bool(seen.folded) and seen.folded[-1][1] >= len(pairs),
                "all is folded in",
                SETTLE_SECONDS,
            )
    ledger.folded = seen.folded
    caught_up = seen.folded[-1][0] - ended
    times, lags = map(np.array, ledger.lags())
    first = ledger.sent[0][0]
    quarter = np.floor((times - first) / (ended - first) * 4)
    middle, last = (median(lags[quarter == q]) for q in (1, 3))
    notes = {
        "events/s reached": round(len(pairs) / (ended - first)),
        "p99": round(float(np.quantile(lags, 0.99)), 2),
        "second quarter": round(middle, 2),
        "last quarter": round(last, 2),
        "caught up after": round(caught_up, 2),
        "sustained": last <= middle + 0.5,
    }
    return Figure(
        f"lag at {rate:,.0f} events/s, median", "s", [float(np.median(lags))], notes=notes
    )


def median(lags: NDArray[np.float64]) -> float:
    """Return the median; NaN if nothing was folded in."""
    return float(np.median(lags)) if len(lags) else math.nan


def measure(given: argparse.Namespace) -> Iterator[Figure]:
    """Measure all rates with one stack."""
    draw = np.random.default_rng(7)
    with (
        tempfile.TemporaryDirectory(prefix="throughput-") as folder,
        LocalKafka(Path(folder), 0) as kafka,
        stack(Path(folder), kafka.address, "als", **{"als.hyperparams.features": 50}) as loop,
    ):
        prepare(loop, draw, given.past)
        # The first micro-batches warm up Java's compiler.
        at_rate(loop, 500, min(5.0, given.seconds), draw)
        for rate in given.rates:
            yield at_rate(loop, rate, given.seconds, draw)


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description="Sustained events per second.")
    parser.add_argument("--rates", type=float, nargs="+", default=[1000, 5000, 10_000, 20_000])
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--past", type=int, default=300_000, help="events that are trained on")
    small = {"rates": [1000.0], "seconds": 3.0, "past": 30_000}
    run("speed_throughput", measure, parser, **small)


if __name__ == "__main__":
    main()
