"""How much the batch layer adds to the training library itself.

It trains ALS on the same synthetic ratings twice: by the bare library on data in the form it
likes best, and by our ``Batch`` on rows of history, all files of a generation written.

    python -m benchmarks.batch [--engine mllib]
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from implicit.cpu.als import AlternatingLeastSquares
from threadpoolctl import threadpool_limits

from batch_layer.als_data import Pairs, Preparation
from batch_layer.als_local import LocalEvents, matrix
from batch_layer.als_solver import confidence
from batch_layer.api import BatchContext
from batch_layer.apps.als import Batch
from benchmarks.report import Figure, run
from common import paths
from common.config import Settings, Spark, load
from common.spark_conf import spark_properties

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

NOW = 1_700_000_000_000
PREPARATION = Preparation(
    implicit=True,
    log_strength=False,
    epsilon=1e-5,
    decay_factor=1.0,
    zero_threshold=0.0,
    now=NOW,
)
Result = TypeVar("Result")


@dataclass(frozen=True)
class Work:
    """What is trained."""

    ratings: int
    users: int
    items: int
    features: int
    iterations: int
    seed: int


def history(work: Work) -> pa.Table:
    """Return history rows of users and items that follow a power law."""
    random = np.random.default_rng(work.seed)
    users = _power_law(random, work.users, work.ratings)
    items = _power_law(random, work.items, work.ratings)
    times = np.sort(random.integers(NOW - 86_400_000, NOW, work.ratings))
    lines = [
        f"u{u},i{i},1,{t}"
        for u, i, t in zip(users.tolist(), items.tolist(), times.tolist(), strict=True)
    ]
    rows = np.arange(work.ratings)
    return pa.table(
        {
            "partition": pa.array((rows % 4).astype(np.int32)),
            "offset": pa.array(rows // 4),
            "timestamp": pa.array(times),
            "key": pa.nulls(work.ratings, pa.string()),
            "value": pa.array(lines),
        }
    )


def _power_law(random: np.random.Generator, size: int, count: int) -> np.ndarray[Any, Any]:
    weights = np.cumsum(np.arange(1, size + 1) ** -0.8)
    rows: np.ndarray[Any, Any] = np.searchsorted(weights, random.random(count) * weights[-1])
    return rows


def bare_implicit(pairs: Pairs, settings: Settings) -> None:
    """Fit by the library alone, on a matrix of confidences."""
    als = settings.section("als")
    model = AlternatingLeastSquares(
        factors=als.hyperparams.features, iterations=als.iterations, random_state=settings.ml.seed
    )
    with threadpool_limits(1, "blas"):
        model.fit(confidence(matrix(pairs), 1.0), show_progress=False)


def bare_mllib(ratings: DataFrame, settings: Settings) -> None:
    """Fit by MLlib alone, on a cached frame of numbers, with its own number of blocks."""
    from pyspark.ml.recommendation import ALS

    als = settings.section("als")
    model = ALS(
        rank=als.hyperparams.features,
        maxIter=als.iterations,
        regParam=als.hyperparams.lambda_,
        implicitPrefs=True,
        userCol="user",
        itemCol="item",
        ratingCol="value",
        seed=settings.ml.seed,
    ).fit(ratings)
    model.userFactors.count()
    model.itemFactors.count()


def timed(steps: dict[str, float], name: str, work: Callable[[], Result]) -> Result:
    """Do some work and note its seconds."""
    start = time.perf_counter()
    result = work()
    steps[name] = round(time.perf_counter() - start, 3)
    return result


def rounds(spark: SparkSession, given: argparse.Namespace, folder: Path) -> Iterator[Figure]:
    """Prepare the data once; then time the bare fit and our run, one after the other."""
    ratings = 100_000 if given.quick else given.ratings
    work = Work(ratings, given.users, given.items, given.features, given.iterations, given.seed)
    settings = load(
        flags={
            "als.engine": "mllib" if given.engine == "mllib" else "auto",
            "als.hyperparams.features": work.features,
            "als.iterations": work.iterations,
            "ml.eval.test_fraction": 0,
            "ml.seed": work.seed,
        }
    )
    pq.write_table(history(work), folder / "history.parquet", row_group_size=work.ratings // 4)
    rows = spark.read.parquet(str(folder / "history.parquet"))
    rows.count()
    steps: dict[str, float] = {}
    columns = rows.select("partition", "offset", "timestamp", "value")
    table = timed(steps, "history to Arrow", columns.toArrow)
    events = timed(steps, "lines to columns", lambda: LocalEvents.of(table))
    pairs = timed(steps, "events to pairs", lambda: events.pairs(PREPARATION))
    fit = _bare(spark, given.engine, pairs, settings)
    bare: list[float] = []
    ours: list[float] = []
    for number in range(1 if given.quick else given.rounds):
        timed(steps, "bare fit", fit)
        generation = folder / f"generation-{number}"
        generation.mkdir()
        context = BatchContext(spark, settings, generation, NOW, len(table))
        if timed(steps, "our run", partial(Batch(settings).run, context, rows, None)) is None:
            message = "nothing was built"
            raise RuntimeError(message)
        bare.append(steps.pop("bare fit"))
        ours.append(steps.pop("our run"))
    what = f"one generation, {given.engine}, {work.ratings:,} ratings, {work.features} features"
    yield Figure(what, "s", ours, "the bare fit", bare, "1.3 times", {"pairs": len(pairs), **steps})


def _bare(spark: SparkSession, engine: str, pairs: Pairs, settings: Settings) -> Callable[[], None]:
    """Return the bare library's fit, on data in the form that it likes best."""
    if engine == "implicit":
        return lambda: bare_implicit(pairs, settings)
    numbers = pa.table({"user": pairs.users, "item": pairs.items, "value": pairs.values})
    ratings = spark.createDataFrame(numbers).cache()
    ratings.count()
    return lambda: bare_mllib(ratings, settings)


def measure(given: argparse.Namespace) -> Iterator[Figure]:
    """Measure one engine."""
    with tempfile.TemporaryDirectory() as folder:
        spark = session(Path(folder))
        try:
            yield from rounds(spark, given, Path(folder))
        finally:
            spark.stop()


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description="One generation against the bare fit.")
    parser.add_argument("--engine", choices=["implicit", "mllib"], default="implicit")
    for name, default in (
        ("ratings", 1_000_000),
        ("users", 100_000),
        ("items", 20_000),
        ("features", 50),
        ("iterations", 10),
        ("seed", 1),
        ("rounds", 3),
    ):
        parser.add_argument(f"--{name}", type=int, default=default)
    run("batch", measure, parser)


def session(folder: Path) -> SparkSession:
    """Start Spark with the layers' own properties, and a heap that holds the data."""
    from pyspark.sql import SparkSession

    os.environ["PYSPARK_PYTHON"] = sys.executable
    layer = Spark(
        master="local[2]",
        driver_memory="3g",
        config={"spark.local.dir": str(folder), "spark.driver.maxResultSize": "0"},
    )
    builder = SparkSession.builder
    for name, value in spark_properties(layer, "benchmark", paths.home()).items():
        builder = builder.config(name, value)
    return builder.getOrCreate()


if __name__ == "__main__":
    main()
