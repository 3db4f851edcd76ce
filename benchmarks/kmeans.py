"""K-means: one generation of each engine against the bare library's fit, over several sizes.

The sizes together are the curve by which `kmeans.engine_max_cells` was chosen: seconds of both
engines on the same events, and the driver's memory for each cell.

    python -m benchmarks.kmeans [--sizes 100000 1000000] [--engines sklearn mllib]
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from sklearn.cluster import KMeans

from batch_layer.api import BatchContext
from batch_layer.apps.kmeans import Batch
from benchmarks.report import Figure, run
from common import paths
from common.config import Settings, Spark, load
from common.spark_conf import spark_properties

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

NOW = 1_700_000_000_000
SEED = 1
Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class Work:
    """What is clustered."""

    rows: int
    features: int
    k: int


def points(work: Work) -> Matrix:
    """Draw points about as many places as there are clusters to find."""
    random = np.random.default_rng(SEED)
    places = random.normal(scale=3, size=(work.k, work.features))
    noise = random.normal(size=(work.rows, work.features))
    drawn: Matrix = (places[random.integers(work.k, size=work.rows)] + noise).round(4)
    return drawn


def history(drawn: Matrix) -> pa.Table:
    """Return points as history rows."""
    lines = [",".join(map(str, row)) for row in drawn.tolist()]
    rows = np.arange(len(lines))
    return pa.table(
        {
            "partition": pa.array((rows % 4).astype(np.int32)),
            "offset": pa.array(rows // 4),
            "timestamp": pa.array(np.full(len(lines), NOW)),
            "key": pa.nulls(len(lines), pa.string()),
            "value": pa.array(lines),
        }
    )


def configured(work: Work, engine: str) -> Settings:
    """Return the settings of one engine."""
    return load(
        flags={
            "app": "kmeans",
            "input_schema.num_features": work.features,
            "input_schema.categorical_features": [],
            "kmeans.engine": engine,
            "kmeans.hyperparams.k": work.k,
            "ml.eval.test_fraction": 0,
            "ml.seed": SEED,
        },
        environment={},
    )


def bare_sklearn(drawn: Matrix, settings: Settings) -> None:
    """Fit by scikit-learn alone, on a matrix."""
    kmeans = settings.section("kmeans")
    KMeans(
        kmeans.hyperparams.k, max_iter=kmeans.iterations, n_init=1, random_state=settings.ml.seed
    ).fit(drawn)


def bare_mllib(vectors: DataFrame, settings: Settings) -> None:
    """Fit by MLlib alone, on a cached frame of vectors."""
    from pyspark.ml.clustering import KMeans as SparkKMeans

    kmeans = settings.section("kmeans")
    SparkKMeans(k=kmeans.hyperparams.k, maxIter=kmeans.iterations, seed=settings.ml.seed).fit(
        vectors
    )


def bare(spark: SparkSession, engine: str, drawn: Matrix, settings: Settings) -> Callable[[], None]:
    """Return the bare library's fit, on data in the form that it likes best."""
    if engine == "sklearn":
        return partial(bare_sklearn, drawn, settings)
    from pyspark.ml.functions import array_to_vector
    from pyspark.sql import functions as F

    lists = pa.ListArray.from_arrays(
        np.arange(len(drawn) + 1, dtype=np.int32) * drawn.shape[1], drawn.ravel()
    )
    frame = spark.createDataFrame(pa.table({"features": lists})).repartition(4)
    vectors = frame.select(array_to_vector(F.col("features")).alias("features")).cache()
    vectors.count()
    return partial(bare_mllib, vectors, settings)


def seconds(work: Callable[[], object]) -> float:
    """Do some work and return how long it took."""
    start = time.perf_counter()
    work()
    return round(time.perf_counter() - start, 3)


def compare(spark: SparkSession, engine: str, work: Work, rounds: int) -> Figure:
    """Time the bare fit and our run, one after the other."""
    settings, drawn = configured(work, engine), points(work)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pq.write_table(history(drawn), folder / "history.parquet", row_group_size=work.rows // 4)
        rows = spark.read.parquet(str(folder / "history.parquet"))
        rows.count()
        reading = seconds(rows.select("partition", "offset", "value").toArrow)
        fit = bare(spark, engine, drawn, settings)
        theirs, ours = [], []
        for number in range(rounds):
            theirs.append(seconds(fit))
            (folder / str(number)).mkdir()
            context = BatchContext(spark, settings, folder / str(number), NOW, work.rows)
            ours.append(seconds(partial(Batch(settings).run, context, rows, None)))
            assert (folder / str(number) / "model.pmml").is_file()
    spark.catalog.clearCache()
    what = f"one generation, {engine}, {work.rows:,} x {work.features}, k = {work.k}"
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    notes = {
        "history to Arrow alone": f"{reading} s",
        "peak of the Python driver so far": f"{peak:.1f} GiB",
    }
    return Figure(what, "s", ours, "the bare fit", theirs, "at most 1.5 times", notes)


def measure(given: argparse.Namespace) -> Iterator[Figure]:
    """Compare both engines at each size."""
    sizes = [20_000] if given.quick else given.sizes
    rounds = 1 if given.quick else given.rounds
    spark = session()
    try:
        for rows in sorted(sizes):
            for engine in given.engines:
                work = Work(rows, given.features, given.k)
                yield compare(spark, engine, work, rounds)
    finally:
        spark.stop()


def session() -> SparkSession:
    """Start Spark with the layers' own properties, and room for the bare fit's data."""
    from pyspark.sql import SparkSession

    os.environ["PYSPARK_PYTHON"] = sys.executable
    config = {"spark.driver.maxResultSize": "0"}
    layer = Spark(master="local[2]", driver_memory="3g", config=config)
    builder = SparkSession.builder
    for name, value in spark_properties(layer, "benchmark", paths.home()).items():
        builder = builder.config(name, value)
    return builder.getOrCreate()


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description="One generation of k-means against the bare fit.")
    parser.add_argument("--sizes", type=int, nargs="+", default=[50_000, 200_000, 1_000_000])
    engines = ["sklearn", "mllib"]
    parser.add_argument("--engines", nargs="+", choices=engines, default=engines)
    for name, default in (("features", 20), ("k", 50), ("rounds", 3)):
        parser.add_argument(f"--{name}", type=int, default=default)
    run("kmeans", measure, parser)


if __name__ == "__main__":
    main()
