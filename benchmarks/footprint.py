"""Memory of all three layers and the broker, working on MovieLens-100k.

    python -m benchmarks.footprint [--events 5000]

Four fifths of the ratings are training data; speed and serving process the rest, sent over REST,
while the batch layer builds a second generation.  A process's memory is its proportional set size
(shared pages are divided among the processes that share them), so that the sum is the memory that
the machine provides.  The sum is sampled twice a second, and the figure is its maximum.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from benchmarks import memory
from benchmarks.report import Figure, run
from demo.data import movielens
from stack import paths
from stack.local_kafka import LocalKafka
from tests.integration.stack import Layer, Stack, stack
from tests.waiting import wait_until

PERIOD = 0.5
LINES = 1000


def measure(given: argparse.Namespace) -> Iterator[Figure]:
    """Yield the largest sum, and each part's share of it."""
    ratings = [rating.line() for rating in movielens(paths.cache_dir()).rows]
    cut = len(ratings) * 4 // 5
    live = ratings[cut : cut + given.events]
    with (
        tempfile.TemporaryDirectory(prefix="footprint-") as folder,
        LocalKafka(Path(folder), 0) as kafka,
        stack(Path(folder), kafka.address, "als") as loop,
    ):
        serving = loop.start("serving")
        wait_until(lambda: loop.status_of("/livez") == 200, "serving answers")
        send(loop, ratings[:cut])
        succeed(loop.batch_once())
        speed = loop.start("speed")
        wait_until(lambda: loop.status_of("/ready") == 200, "the model is served")
        batch = loop.start("batch", "--once")
        parts = {
            "broker": kafka.status().pid,
            "batch": batch.process.pid,
            "speed": speed.process.pid,
            "serving": serving.process.pid,
        }
        roots = {name: pid for name, pid in parts.items() if pid is not None}
        with memory.watched(lambda: proportional(roots), PERIOD) as greatest:
            send(loop, live)
            batch.process.wait(180)
        succeed(batch)
        if not all(greatest.parts.get(name) for name in parts):
            message = f"not all processes were seen: {greatest.parts}"
            raise RuntimeError(message)
    notes = {"live events": len(live), "load average": round(os.getloadavg()[0], 2)}
    yield Figure("all layers and the broker", "MiB", [greatest.total], asked="3,000", notes=notes)
    for name, size in greatest.parts.items():
        yield Figure(f"of it {name}", "MiB", [size])


def proportional(roots: Mapping[str, int]) -> Mapping[str, float]:
    """Return the proportional set sizes of processes and their children, in MiB."""
    return {name: memory.of(pid).pss / 2**20 for name, pid in roots.items()}


def send(loop: Stack, lines: list[str]) -> None:
    """POST lines in several requests."""
    for at in range(0, len(lines), LINES):
        loop.ingest(lines[at : at + LINES])


def succeed(batch: Layer) -> None:
    """Raise if the batch layer has failed."""
    if batch.process.returncode:
        raise RuntimeError(batch.log.read_text(encoding="utf-8"))


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description="Memory of all layers.")
    parser.add_argument("--events", type=int, default=5000)
    run("footprint", measure, parser, events=1000)


if __name__ == "__main__":
    main()
