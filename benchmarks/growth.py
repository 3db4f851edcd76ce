"""Growth of time and memory with items, features, users, events, and length of history.

    python -m benchmarks.growth

Each curve has doubling sizes, and an exponent: the slope of a straight line through their
logarithms.  1 means proportional; below 1 a fixed part is significant.  Serving is measured by its
real process, one request at a time.  Training is ``Batch.run`` on history rows; its memory is the
peak of this process and Spark's together.
"""

from __future__ import annotations

import argparse
import http.client
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks import als_data, batch, fold_in, growth_plot, memory
from benchmarks.against_bare import generation_seconds
from benchmarks.growth_plot import Curve
from benchmarks.layers import as_history, session
from benchmarks.report import Figure, run
from benchmarks.serving_process import ServingProcess
from common.runtime.configuration import load

QUERIES = 100
#: Interval of sampling the memory.
PERIOD = 0.02


def serving(
    shapes: Sequence[als_data.Shape], sizes: Sequence[int], by: str, rounds: int
) -> Iterator[Curve]:
    """Yield the curves of serving models of these shapes: minimal times and maximal memory."""
    queries, starts, peaks = [], [], []
    for shape in shapes:
        with tempfile.TemporaryDirectory(prefix="growth-") as folder:
            store = Path(folder) / "model"
            als_data.write_generation(store, als_data.make(shape))
            costs = [serving_costs(store, shape.n_users) for _ in range(rounds)]
        query, start, memory_mb = zip(*costs, strict=True)
        queries.append(1000 * min(query))
        starts.append(min(start))
        peaks.append(max(memory_mb))
    yield Curve("one exact query", by, "ms", sizes, queries)
    yield Curve("start to ready", by, "s", sizes, starts)
    yield Curve("memory of serving", by, "MB", sizes, peaks)


def serving_costs(store: Path, n_users: int) -> tuple[float, float, float]:
    """Serve a generation; return seconds of a query, seconds to ready, megabytes."""
    with ServingProcess(store, {"als.top_n.approximate_above_items": 1 << 40}) as process:
        query = query_seconds(process.port, n_users)
        return query, process.seconds_to_ready, process.memory_mb()["RSS"]


def query_seconds(port: int, n_users: int) -> float:
    """Return the median time of ``/recommend``, one request at a time."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    seconds = []
    for number in range(QUERIES):
        started = time.perf_counter()
        connection.request("GET", f"/recommend/u{number * 31 % n_users}")
        reply = connection.getresponse()
        reply.read()
        seconds.append(time.perf_counter() - started)
        if reply.status != 200:
            message = f"recommend answered {reply.status}"
            raise RuntimeError(message)
    connection.close()
    return statistics.median(seconds)


def folding(sizes: Sequence[int]) -> Iterator[Curve]:
    """Yield the curves of a micro-batch by its events."""
    random = np.random.default_rng(1)
    options = argparse.Namespace(users=50_000, items=10_000, features=50)
    users, items = (
        random.normal(0, 0.3, (count, options.features)).astype(np.float32)
        for count in (options.users, options.items)
    )
    times, peaks = [], []
    with tempfile.TemporaryDirectory() as folder, threadpool_limits(1):
        speed = fold_in.loaded(Path(folder), users, items)
        for size in sizes:
            events = fold_in.as_lines(fold_in.drawn(random, size, options))
            call = partial(fold_in.folded, speed, events)
            times.append(1000 * min(fold_in.cpu_seconds(call) for _ in range(3)))
            peaks.append(peak_mb(call))
    yield Curve("a micro-batch", "events", "ms of CPU", sizes, times)
    yield Curve("memory of folding", "events", "MB", sizes, peaks)


def training(sizes: Sequence[int]) -> Iterator[Curve]:
    """Yield the curves of a generation by the ratings in the history."""
    settings = load(flags={"als.hyperparams.features": 50, "ml.eval.test_fraction": 0})
    times, peaks = [], []
    with session() as spark, tempfile.TemporaryDirectory() as folder:
        for size in sizes:
            work = batch.Work(size, users=50_000, items=10_000, features=50, iterations=10, seed=1)
            history = as_history(spark, batch.history(work), Path(folder))
            run_once = partial(generation_seconds, settings, history, Path(folder))
            run_once()  # Warms up Java's compiler.
            times.append(min(run_once() for _ in range(2)))
            peaks.append(peak_mb(run_once))
    yield Curve("a generation", "ratings in history", "s", sizes, times)
    yield Curve("memory of training", "ratings in history", "MB", sizes, peaks)


def peak_mb(work: Callable[[], object]) -> float:
    """Call `work`; return the peak memory of this process and its children."""
    with memory.watched(lambda: {"RSS": memory.of(os.getpid()).rss / 1e6}, PERIOD) as greatest:
        work()
    return greatest.total


def curves(given: argparse.Namespace) -> Iterator[Curve]:
    """Yield all curves, with doubling sizes that start at a share of the usual ones."""

    def doubling(first: int) -> list[int]:
        return [int(first * given.share) << step for step in range(given.steps)]

    def serve(shapes: Sequence[als_data.Shape], sizes: Sequence[int], by: str) -> Iterator[Curve]:
        yield from serving(shapes, sizes, by, given.rounds)

    items = doubling(125_000)
    yield from serve([als_data.Shape(size, 20_000, 50) for size in items], items, "items")
    features = [25 << step for step in range(given.steps)]
    shapes = [als_data.Shape(int(200_000 * given.share), 20_000, size) for size in features]
    yield from serve(shapes, features, "features")
    users = doubling(125_000)
    yield from serve([als_data.Shape(20_000, size, 50) for size in users], users, "users")
    yield from folding(doubling(5_000))
    yield from training(doubling(125_000))


def figure(curve: Curve) -> Figure:
    """Return the figure of a curve's exponent, with the curve as notes."""
    pairs = zip(curve.sizes, curve.values, strict=True)
    points = {f"{size:,}": f"{value:.3g} {curve.unit}" for size, value in pairs}
    return Figure(f"{curve.what} by {curve.by}", "exponent", [curve.exponent], notes=points)


def measure(given: argparse.Namespace) -> Iterator[Figure]:
    """Yield the exponent of each curve; plot the curves if ``--out`` is given."""
    measured = []
    for curve in curves(given):
        measured.append(curve)
        yield figure(curve)
    if given.out is not None:
        given.out.mkdir(parents=True, exist_ok=True)
        growth_plot.draw(measured, given.out / "growth-curves.png")


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description="Growth of time and memory.")
    parser.add_argument("--share", type=float, default=1.0, help="of the usual sizes")
    parser.add_argument("--steps", type=int, default=4, help="sizes of each curve")
    parser.add_argument("--rounds", type=int, default=3, help="starts of each serving process")
    run("growth", measure, parser, share=0.1, steps=3, rounds=1)


if __name__ == "__main__":
    main()
