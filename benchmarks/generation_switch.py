"""Latency and memory during a switch to a new generation.

    python -m benchmarks.generation_switch [--items 1000000] [--factors 50]

Eight clients request ``/recommend`` in a closed loop: first for some seconds with one generation,
then for the same time while a new one of the same size is published, loaded, verified and
swapped in.  A failed request, or a switch that does not happen within this time, ends the
benchmark without a figure.  The process's memory is sampled ten times a second.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

from benchmarks import load, memory
from benchmarks.als_data import Shape, make, write_generation
from benchmarks.report import Figure, run
from benchmarks.serving_process import ServingProcess
from common.store.generations import ModelStore

CLIENTS = 8
#: Seconds of load before the new generation is published.
LEAD = 1.0
#: Interval of sampling the memory.
PERIOD = 0.1


def start_clients(server: ServingProcess, given: argparse.Namespace) -> subprocess.Popen[str]:
    """Start the clients' process."""
    plan = load.Plan(server.port, given.seconds, CLIENTS)
    return load.start(plan, "/recommend/u%d", given.users)


def measure(given: argparse.Namespace) -> Iterator[Figure]:
    """Yield the tail of latency and the memory, with a switch compared with without."""
    shape = Shape(given.items, given.users, given.factors)
    tails: list[list[float]] = [[], []]
    sizes: list[list[float]] = [[], []]
    with tempfile.TemporaryDirectory(prefix="switch-") as folder:
        store_folder = Path(folder) / "store"
        write_generation(store_folder, make(shape), 1000)
        with ServingProcess(store_folder) as server:
            load.outcome(start_clients(server, given))
            for number in range(given.rounds):
                write_generation(store_folder, make(shape, seed=number + 2), 1001 + number)
                with memory.watched(server.memory_mb, PERIOD) as steady:
                    tails[1].append(load.outcome(start_clients(server, given))["p99_ms"])
                with memory.watched(server.memory_mb, PERIOD) as switching:
                    tails[0].append(switched(server, store_folder, 1001 + number, given))
                sizes[0].append(switching.parts["RSS"])
                sizes[1].append(steady.parts["RSS"])
    notes = {"clients": CLIENTS, "items": shape.n_items, "factors": shape.n_factors}
    yield Figure("p99 with a switch", "ms", tails[0], "p99 without", tails[1], "2 times", notes)
    yield Figure("peak memory", "MB", sizes[0], "memory without", sizes[1], "2.2 times", notes)


def switched(
    server: ServingProcess, store_folder: Path, generation: int, given: argparse.Namespace
) -> float:
    """Publish a generation under load; return the tail of latency."""
    running = start_clients(server, given)
    published = ModelStore(str(store_folder)).get(generation)
    publish = threading.Timer(LEAD, server.publish, (published,))
    publish.start()
    tail = load.outcome(running)["p99_ms"]
    publish.join()
    status, reply = server.get("/status")
    if status != 200 or reply["generation"] != generation:
        message = f"the switch to {generation} did not happen: {status} {reply}"
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
    small = {"items": 100_000, "users": 20_000, "rounds": 1, "seconds": 3.0}
    run("generation_switch", measure, parser, **small)


if __name__ == "__main__":
    main()
