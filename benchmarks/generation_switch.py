"""What a switch to a new generation costs those who are asking meanwhile.

    python -m benchmarks.generation_switch [--items 1000000] [--factors 50]

Eight clients ask ``/recommend`` without a pause.  First for some seconds with one generation,
then as long again while a new one, of the same size, is published: it is loaded aside, verified
and swapped in.  A failed request ends the benchmark without a figure, and so does a switch that
does not happen within the load.  Memory is the process's, looked at ten times a second.
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
#: Seconds between two looks at the memory.
PERIOD = 0.1


def asked(server: ServingProcess, given: argparse.Namespace) -> subprocess.Popen[str]:
    """Start the clients."""
    plan = load.Plan(server.port, given.seconds, CLIENTS)
    return load.start(plan, "/recommend/u%d", given.users)


def measure(given: argparse.Namespace) -> Iterator[Figure]:
    """Yield the tail of latency, and memory, with a switch against without."""
    shape = Shape(given.items, given.users, given.factors)
    tails: list[list[float]] = [[], []]
    sizes: list[list[float]] = [[], []]
    with tempfile.TemporaryDirectory(prefix="switch-") as folder:
        place = Path(folder) / "store"
        write_generation(place, make(shape), 1000)
        with ServingProcess(place) as server:
            load.outcome(asked(server, given))
            for number in range(given.rounds):
                write_generation(place, make(shape, seed=number + 2), 1001 + number)
                with memory.watched(server.memory_mb, PERIOD) as steady:
                    tails[1].append(load.outcome(asked(server, given))["p99_ms"])
                with memory.watched(server.memory_mb, PERIOD) as switching:
                    tails[0].append(switched(server, place, 1001 + number, given))
                sizes[0].append(switching.parts["RSS"])
                sizes[1].append(steady.parts["RSS"])
    notes = {"clients": CLIENTS, "items": shape.n_items, "factors": shape.n_factors}
    yield Figure("p99 with a switch", "ms", tails[0], "p99 without", tails[1], "2 times", notes)
    yield Figure("peak memory", "MB", sizes[0], "memory without", sizes[1], "2.2 times", notes)


def switched(
    server: ServingProcess, place: Path, generation: int, given: argparse.Namespace
) -> float:
    """Publish a generation under load; returns the latency's tail."""
    running = asked(server, given)
    found = ModelStore(str(place)).get(generation)
    publish = threading.Timer(LEAD, server.publish, (found,))
    publish.start()
    tail = load.outcome(running)["p99_ms"]
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
    small = {"items": 100_000, "users": 20_000, "rounds": 1, "seconds": 3.0}
    run("generation_switch", measure, parser, **small)


if __name__ == "__main__":
    main()
