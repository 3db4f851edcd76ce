"""What a switch to a new generation costs those who are asking meanwhile.

    python -m benchmarks.generation_switch [--items 1000000] [--factors 50]

Eight clients ask ``/recommend`` without a pause.  First for some seconds with one generation,
then as long again while a new one, of the same size, is published: it is loaded aside, verified
and swapped in.  A failed request ends the benchmark without a figure, and so does a switch that
does not happen within the load.  Memory is the process's, looked at fifty times a second.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

from benchmarks.als_data import Shape, make, write_generation
from benchmarks.report import Figure, run
from benchmarks.serving_process import ROOT, ServingProcess
from common.model_store import ModelStore

CLIENTS = 8
#: Seconds of load before the new generation is published.
LEAD = 1.0


class Memory:
    """The greatest resident size of a process while the block lasts, in megabytes."""

    def __init__(self, server: ServingProcess) -> None:
        self._server = server
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self.peak = 0.0

    def __enter__(self) -> Memory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._stop.wait(0.02):
            self.peak = max(self.peak, self._server.memory_mb()["resident"])


def load(server: ServingProcess, users: int, seconds: float) -> subprocess.Popen[str]:
    """Start the load generator."""
    command = [sys.executable, "-m", "benchmarks.load", "--port", str(server.port)]
    command += ["--path", "/recommend/u%d", "--numbers", str(users)]
    command += ["--connections", str(CLIENTS), "--seconds", str(seconds)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def outcome(process: subprocess.Popen[str]) -> dict[str, float]:
    """Return what the load generator says; raises where a request had an error."""
    told, _ = process.communicate()
    found = json.loads(told)
    if process.returncode or found["errors"]:
        message = f"the load had errors: {told}"
        raise RuntimeError(message)
    return dict(found)


def measure(given: argparse.Namespace) -> Iterator[Figure]:
    """Yield the tail of latency, and memory, with a switch against without."""
    if given.quick:
        given.items, given.users, given.rounds, given.seconds = 100_000, 20_000, 1, 4.0
    shape = Shape(given.items, given.users, given.factors)
    tails: list[list[float]] = [[], []]
    sizes: list[list[float]] = [[], []]
    with tempfile.TemporaryDirectory(prefix="switch-") as folder:
        place = Path(folder) / "store"
        write_generation(place, make(shape), 1000)
        with ServingProcess(place) as server:
            outcome(load(server, shape.n_users, 2.0))
            for number in range(given.rounds):
                write_generation(place, make(shape, seed=number + 2), 1001 + number)
                with Memory(server) as steady:
                    tails[1].append(outcome(load(server, shape.n_users, given.seconds))["p99_ms"])
                with Memory(server) as switching:
                    tails[0].append(switched(server, place, 1001 + number, given))
                sizes[0].append(switching.peak)
                sizes[1].append(steady.peak)
    notes = {"clients": CLIENTS, "items": shape.n_items, "factors": shape.n_factors}
    yield Figure("p99 with a switch", "ms", tails[0], "p99 without", tails[1], "2 times", notes)
    yield Figure("peak memory", "MB", sizes[0], "memory without", sizes[1], "2.2 times", notes)


def switched(
    server: ServingProcess, place: Path, generation: int, given: argparse.Namespace
) -> float:
    """Publish a generation under load; returns the latency's tail."""
    running = load(server, given.users, given.seconds)
    found = ModelStore(str(place)).get(generation)
    publish = threading.Timer(LEAD, server.publish, (found,))
    publish.start()
    tail = outcome(running)["p99_ms"]
    publish.join()
    status, told = server.get("/status")
    if status != 200 or told["generation"] != generation:
        message = f"the switch to {generation} did not happen: {status} {told}"
        raise RuntimeError(message)
    return tail


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description="A switch of generations under load.")
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--users", type=int, default=100_000)
    parser.add_argument("--factors", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=15.0)
    run("generation_switch", measure, parser)


if __name__ == "__main__":
    main()
