"""Rates of one client at one serving process, by the v1 resources and by Oryx's paths.

    python -m benchmarks.client [--quick] [--rounds 3]

*Recommendations*: ten for each of many users by ``Client.recommend_many`` (``POST /v1/recommend``
for up to 500 users per request), compared with one ``GET /recommend/<user>`` each over a single
connection.  *Events*: 200,000 by ``Client.ingest``, compared with uncompressed CSV to ``POST
/ingest`` in requests of the same number of lines.  The broker is in the server's memory, so that
HTTP, parsing and checks are measured.  Rounds are interleaved.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx

from benchmarks.als_data import Shape, make, write_generation
from benchmarks.report import Figure, run
from benchmarks.serving_process import ServingProcess
from common.base.paths import ROOT

# The client is a distribution of its own that the platform does not install.
sys.path.insert(0, str(ROOT / "client"))

from gemsbok_client import Client, Event

#: Events per request.
BATCH_SIZE = 2000


def recommend_many(client: Client, users: list[str]) -> None:
    """Request recommendations for all users by the client."""
    n_items = sum(len(result.items) for result in client.recommend_many(users))
    assert n_items == 10 * len(users)


def recommend_each(client: httpx.Client, users: list[str]) -> None:
    """Request recommendations for each user separately."""
    for user in users:
        reply = client.get(f"/recommend/{user}")
        assert reply.text.count("\n") == 10


def ingest(client: Client, count: int) -> None:
    """Send events by the client."""
    events = (Event(f"u{n}", f"i{n % 1000}", 1.5, n + 1) for n in range(count))
    assert client.ingest(events, BATCH_SIZE) == count


def ingest_lines(client: httpx.Client, count: int) -> None:
    """Send the same events as CSV."""
    for start in range(0, count, BATCH_SIZE):
        numbers = range(start, min(start + BATCH_SIZE, count))
        lines = "".join(f"u{n},i{n % 1000},1.5,{n + 1}\n" for n in numbers)
        reply = client.post("/ingest", content=lines, headers={"Content-Type": "text/csv"})
        assert reply.status_code == 204


def rate(work: Callable[[], None], count: int) -> float:
    """Return the rate per second."""
    started = time.perf_counter()
    work()
    return count / (time.perf_counter() - started)


def measure(given: argparse.Namespace) -> Iterator[Figure]:
    """Yield both comparisons."""
    shape, count = Shape(given.items, 20_000, 50), given.events
    users = [f"u{row}" for row in range(given.users)]
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "store"
        write_generation(store, make(shape))
        with ServingProcess(store) as server:
            url = f"http://127.0.0.1:{server.port}"
            with Client(url) as ours, httpx.Client(base_url=url, timeout=60) as plain:
                rates = [
                    (
                        rate(lambda: recommend_many(ours, users), len(users)),
                        rate(lambda: recommend_each(plain, users), len(users)),
                        rate(lambda: ingest(ours, count), count),
                        rate(lambda: ingest_lines(plain, count), count),
                    )
                    for _ in range(given.rounds)
                ]
    many, each, events, lines = (list(column) for column in zip(*rates, strict=True))
    notes = {"items": shape.n_items, "factors": shape.n_factors, "users": len(users)}
    yield Figure("recommend_many", "users/s", many, "one GET each", each, notes=notes)
    notes = {"events": count, "a request": BATCH_SIZE}
    yield Figure("ingest", "events/s", events, "CSV to /ingest", lines, notes=notes)


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("items", 200_000), ("users", 2000), ("events", 200_000), ("rounds", 3)):
        parser.add_argument(f"--{name}", type=int, default=default)
    run("client", measure, parser, items=20_000, users=200, events=20_000, rounds=1)


if __name__ == "__main__":
    main()
