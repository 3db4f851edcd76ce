"""How time and memory grow: with items, features, users, events, and the length of history.

    python -m benchmarks.growth

Each curve has four sizes that double, and an exponent: the slope of a straight line through
their logarithms.  1 is in proportion; below 1 something fixed still weighs.  What serving does
is asked of its real process, one request at a time; training is ``Batch.run`` on history rows.
"""

from __future__ import annotations

import argparse
import http.client
import itertools
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow.parquet as pq
from threadpoolctl import threadpool_limits

from batch_layer.api import BatchContext
from batch_layer.apps.als import Batch
from benchmarks import als_data, batch, fold_in
from benchmarks.report import Figure, run
from benchmarks.serving_process import ServingProcess
from common.config import load

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

QUERIES = 40


@dataclass(frozen=True)
class Curve:
    """What one quantity costs at several sizes of another."""

    what: str
    unit: str
    sizes: Sequence[int]
    values: Sequence[float]

    @property
    def exponent(self) -> float:
        """Slope in logarithms."""
        slope, _ = np.polyfit(np.log(self.sizes), np.log(self.values), 1)
        return float(slope)

    def figure(self) -> Figure:
        """Return the exponent, with the curve beside it."""
        pairs = zip(self.sizes, self.values, strict=True)
        points = {f"{size:,}": f"{value:.3g} {self.unit}" for size, value in pairs}
        return Figure(self.what, "exponent", [self.exponent], notes=points)


def doubling(first: int) -> list[int]:
    """Return four sizes."""
    return [first << step for step in range(4)]


def serving(shapes: Sequence[als_data.Shape], sizes: Sequence[int], name: str) -> Iterator[Curve]:
    """Yield what serving models of these shapes costs."""
    costs: dict[str, list[float]] = {"ms": [], "s": [], "MB": []}
    for shape in shapes:
        with tempfile.TemporaryDirectory(prefix="growth-") as folder:
            store = Path(folder) / "model"
            als_data.write_generation(store, als_data.make(shape))
            with ServingProcess(
                store, **{"als__top_n__approximate_above_items": 1 << 40}
            ) as process:
                costs["ms"].append(1000 * query_seconds(process.port, shape.n_users))
                costs["s"].append(process.seconds_to_ready)
                costs["MB"].append(process.memory_mb()["resident"])
    for unit, what in (
        ("ms", "one exact query"),
        ("s", "start to ready"),
        ("MB", "serving memory"),
    ):
        yield Curve(f"{what} by {name}", unit, sizes, costs[unit])


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


def folding(sizes: Sequence[int]) -> Curve:
    """Return what a micro-batch costs by its events."""
    random = np.random.default_rng(1)
    options = argparse.Namespace(users=50_000, items=10_000, features=50)
    users, items = (
        random.normal(0, 0.3, (count, options.features)).astype(np.float32)
        for count in (options.users, options.items)
    )
    with tempfile.TemporaryDirectory() as folder, threadpool_limits(1):
        speed = fold_in.loaded(Path(folder), users, items)
        values = []
        for size in sizes:
            events = fold_in.as_lines(fold_in.drawn(random, size, options))
            call = partial(speed.build_updates, events)
            seconds = [fold_in.cpu_seconds(call) for _ in range(3)]
            values.append(1000 * min(seconds))
    return Curve("a micro-batch by its events", "ms of CPU", sizes, values)


def training(sizes: Sequence[int]) -> Curve:
    """Return what a generation costs by the ratings in the history."""
    with tempfile.TemporaryDirectory() as folder:
        spark = batch.session(Path(folder))
        values = [generation_seconds(spark, size, Path(folder) / str(size)) for size in sizes]
        spark.stop()
    return Curve("a generation by ratings in the history", "s", sizes, values)


def generation_seconds(spark: SparkSession, ratings: int, folder: Path) -> float:
    """Return the time of the faster of two runs on a history of so many ratings."""
    settings = load(flags={"als.hyperparams.features": 50, "ml.eval.test_fraction": 0})
    folder.mkdir()
    work = batch.Work(ratings, users=50_000, items=10_000, features=50, iterations=10, seed=1)
    pq.write_table(batch.history(work), folder / "history", row_group_size=ratings // 4)
    rows = spark.read.parquet(str(folder / "history"))
    seconds = []
    for number in range(2):
        directory = folder / str(number)
        directory.mkdir()
        started = time.perf_counter()
        context = BatchContext(spark, settings, directory, batch.NOW, ratings)
        if Batch(settings).run(context, rows, None) is None:
            message = "nothing was built"
            raise RuntimeError(message)
        seconds.append(time.perf_counter() - started)
    return min(seconds)


def curves(quick: bool) -> Iterator[Curve]:
    """Yield all curves."""
    scale = 10 if quick else 1
    items = doubling(125_000 // scale)
    shapes = [als_data.Shape(size, 20_000, 50) for size in items]
    yield from serving(shapes, items, "items")
    features = [25, 50, 100, 200]
    shapes = [als_data.Shape(200_000 // scale, 20_000, size) for size in features]
    yield from itertools.islice(serving(shapes, features, "features"), 1)
    users = doubling(125_000 // scale)
    shapes = [als_data.Shape(20_000, size, 50) for size in users]
    yield from itertools.islice(serving(shapes, users, "users"), 1, None)
    yield folding(doubling(5_000 // scale))
    yield training(doubling(125_000 // scale))


def measure(given: argparse.Namespace) -> Iterator[Figure]:
    """Yield an exponent for each curve, and draw them where files are asked for."""
    found = []
    for curve in curves(given.quick):
        found.append(curve)
        yield curve.figure()
    if given.out is not None:
        given.out.mkdir(parents=True, exist_ok=True)
        draw(found, given.out / "growth-curves.png")


def draw(found: Sequence[Curve], path: Path) -> None:
    """Draw each curve in its own logarithmic axes."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    columns = 3
    rows = -(-len(found) // columns)
    drawing, axes = plt.subplots(rows, columns, figsize=(12, 3.2 * rows), squeeze=False)
    for axis in axes.flat[len(found) :]:
        axis.set_visible(False)
    for axis, curve in zip(axes.flat, found, strict=False):
        axis.loglog(curve.sizes, curve.values, "o-", color="#1f5f8b")
        axis.set_title(f"{curve.what}: exponent {curve.exponent:.2f}", fontsize=9)
        axis.set_ylabel(curve.unit, fontsize=8)
        axis.grid(True, which="both", alpha=0.3)
    drawing.tight_layout()
    drawing.savefig(path, dpi=110)
    plt.close(drawing)


def main() -> None:
    """Measure and report."""
    run("growth", measure, argparse.ArgumentParser(description="Growth of time and memory."))


if __name__ == "__main__":
    main()
