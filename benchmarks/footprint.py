"""Memory of all three layers and the broker at work on MovieLens-100k.

    python -m benchmarks.footprint [--events 5000]

Four fifths of the ratings are trained on; speed and serving follow the rest, sent over REST;
meanwhile the batch layer makes a second generation.  A process's memory is its proportional
set size (pages that it shares are split among those that share them), so that the sum is what
the machine gives; the sum is looked at twice a second and its greatest value counts.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

from benchmarks.report import Figure, run
from cli import paths
from cli.demo.data import movielens
from cli.local_kafka import LocalKafka
from cli.processes import children
from tests.integration.stack import Layer, Stack, stack, wait_until

PERIOD = 0.5
LINES = 1000


class Watch:
    """Looks at the memory of some processes and their children until it is closed."""

    def __init__(self, roots: dict[str, int]) -> None:
        self._roots = roots
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self.peak = 0.0
        self.parts: dict[str, float] = {}

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._stop.wait(PERIOD):
            parts = {name: sum(map(pss, family(pid))) / 2**20 for name, pid in self._roots.items()}
            if sum(parts.values()) > self.peak:
                self.peak, self.parts = sum(parts.values()), parts


def family(pid: int) -> list[int]:
    """Return a process and all that descend from it."""
    return [pid, *(found for child in children(pid) for found in family(child))]


def pss(pid: int) -> int:
    """Return a process's proportional set size in bytes; 0 once it has ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)


def measure(given: argparse.Namespace) -> Iterator[Figure]:
    """Yield the greatest sum, and what each part had in it then."""
    ratings = [rating.line() for rating in movielens(paths.cache_dir()).rows]
    cut = len(ratings) * 4 // 5
    live = ratings[cut : cut + (1000 if given.quick else given.events)]
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
        roots = {
            "broker": kafka.status().pid,
            "batch": batch.process.pid,
            "speed": speed.process.pid,
            "serving": serving.process.pid,
        }
        with Watch({name: pid for name, pid in roots.items() if pid is not None}) as watch:
            send(loop, live)
            batch.process.wait(180)
        succeed(batch)
        if len(watch.parts) != len(roots):
            message = f"not all processes were seen: {watch.parts}"
            raise RuntimeError(message)
    notes = {"live events": len(live), "load average": round(os.getloadavg()[0], 2)}
    yield Figure("all layers and the broker", "MiB", [watch.peak], asked="3,000", notes=notes)
    for name, size in watch.parts.items():
        yield Figure(f"of it {name}", "MiB", [size])


def send(loop: Stack, lines: list[str]) -> None:
    """POST lines, some at a time."""
    for at in range(0, len(lines), LINES):
        loop.ingest(lines[at : at + LINES])


def succeed(batch: Layer) -> None:
    """Refuse to go on after a generation that failed."""
    if batch.process.returncode:
        raise RuntimeError(batch.log.read_text(encoding="utf-8"))


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description="Memory of all layers.")
    parser.add_argument("--events", type=int, default=5000)
    run("footprint", measure, parser)


if __name__ == "__main__":
    main()
