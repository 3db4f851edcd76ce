"""The forest: one generation of each engine against the bare library's fit, over several sizes.

The sizes together are the curve by which `forest.engine_max_cells` was chosen: seconds of both
engines on the same events, and the driver's memory.  The bare fits get the same settings and
what they like best: a matrix, or a cached frame of vectors.

    python -m benchmarks.forest [--sizes 50000 200000] [--engines sklearn mllib]
"""

from __future__ import annotations

import argparse
import math
import resource
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from batch_layer.api import BatchContext
from batch_layer.apps.forest import Batch
from benchmarks.kmeans import NOW, seconds, session
from benchmarks.report import Figure, run
from common.config import Settings, load

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

SEED = 1
N_CATEGORIES = 12
Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class Work:
    """What is learned from: the first feature is a category, the last field of a line a class."""

    rows: int
    features: int
    trees: int
    depth: int


def examples(work: Work) -> tuple[Matrix, NDArray[np.int64]]:
    """Draw rows and classes."""
    random = np.random.default_rng(SEED)
    rows = random.normal(size=(work.rows, work.features)).round(4)
    rows[:, 0] = random.integers(0, N_CATEGORIES, work.rows)
    effects = random.normal(size=N_CATEGORIES)[rows[:, 0].astype(int)]
    signal = effects + rows[:, 1] - rows[:, 2] * rows[:, 3] + np.sin(2 * rows[:, 4])
    return rows, (signal + random.normal(size=work.rows) > 0).astype(np.int64)


def history(rows: Matrix, classes: NDArray[np.int64]) -> pa.Table:
    """Return examples as history rows."""
    lines = [
        f"c{int(row[0])},{','.join(map(str, row[1:]))},{'ny'[code]}"
        for row, code in zip(rows.tolist(), classes.tolist(), strict=True)
    ]
    at = np.arange(len(lines))
    return pa.table(
        {
            "partition": pa.array((at % 4).astype(np.int32)),
            "offset": pa.array(at // 4),
            "timestamp": pa.array(np.full(len(lines), NOW)),
            "key": pa.nulls(len(lines), pa.string()),
            "value": pa.array(lines),
        }
    )


def configured(work: Work, engine: str, folder: str) -> Settings:
    """Return the settings of one engine."""
    return load(
        flags={
            "app": "forest",
            "batch.storage.data_dir": folder,
            "input_schema.num_features": work.features + 1,
            "input_schema.categorical_features": ["0", str(work.features)],
            "input_schema.target_feature": str(work.features),
            "forest.engine": engine,
            "forest.num_trees": work.trees,
            "forest.hyperparams.max_depth": work.depth,
            "ml.eval.test_fraction": 0,
            "ml.seed": SEED,
        },
        environment={},
    )


def bare_sklearn(rows: Matrix, classes: NDArray[np.int64], work: Work) -> None:
    """Fit by scikit-learn alone, on a matrix."""
    from sklearn.ensemble import RandomForestClassifier

    RandomForestClassifier(
        work.trees,
        criterion="entropy",
        max_depth=work.depth,
        min_samples_leaf=16,
        max_features=math.ceil(math.sqrt(work.features)),
        n_jobs=-1,
        random_state=SEED,
    ).fit(rows, classes)


def bare_mllib(vectors: DataFrame, work: Work) -> None:
    """Fit by MLlib alone, on a cached frame of vectors."""
    from pyspark.ml.classification import RandomForestClassifier

    RandomForestClassifier(
        numTrees=work.trees,
        impurity="entropy",
        maxDepth=work.depth,
        maxBins=100,
        minInstancesPerNode=16,
        minInfoGain=0.001 / math.log(2),
        seed=SEED,
    ).fit(vectors)


def bare(
    spark: SparkSession, engine: str, drawn: tuple[Matrix, NDArray[np.int64]], work: Work
) -> Callable[[], None]:
    """Return the bare library's fit, on data in the form that it likes best."""
    rows, classes = drawn
    if engine == "sklearn":
        return partial(bare_sklearn, rows, classes, work)
    from pyspark.ml.functions import array_to_vector
    from pyspark.sql import functions as F

    offsets = np.arange(len(rows) + 1, dtype=np.int32) * rows.shape[1]
    lists = pa.ListArray.from_arrays(offsets, rows.ravel())
    table = pa.table({"features": lists, "label": classes.astype(np.float64)})
    frame = spark.createDataFrame(table).repartition(4)
    vectors = frame.select(array_to_vector(F.col("features")).alias("features"), "label").cache()
    vectors.count()
    return partial(bare_mllib, vectors, work)


def compare(spark: SparkSession, engine: str, work: Work, rounds: int) -> Figure:
    """Time the bare fit and our run, one after the other."""
    drawn = examples(work)
    with tempfile.TemporaryDirectory() as name:
        folder, settings = Path(name), configured(work, engine, name)
        pq.write_table(history(*drawn), folder / "history.parquet", row_group_size=work.rows // 4)
        rows = spark.read.parquet(str(folder / "history.parquet"))
        fit = bare(spark, engine, drawn, work)
        theirs, ours = [], []
        for number in range(rounds):
            theirs.append(seconds(fit))
            (folder / str(number)).mkdir()
            context = BatchContext(spark, settings, folder / str(number), NOW, work.rows)
            ours.append(seconds(partial(Batch(settings).run, context, rows, None)))
            assert (folder / str(number) / "model.pmml").is_file()
    spark.catalog.clearCache()
    what = (
        f"one generation, {engine}, {work.rows:,} x {work.features}, "
        f"{work.trees} trees of depth {work.depth}"
    )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    notes = {"peak of the Python driver so far": f"{peak:.1f} GiB"}
    return Figure(what, "s", ours, "the bare fit", theirs, "at most 1.5 times", notes)


def measure(given: argparse.Namespace) -> Iterator[Figure]:
    """Compare both engines at each size."""
    sizes = [10_000] if given.quick else given.sizes
    rounds = 1 if given.quick else given.rounds
    spark = session()
    try:
        for rows in sorted(sizes):
            for engine in given.engines:
                work = Work(rows, given.features, given.trees, given.depth)
                yield compare(spark, engine, work, rounds)
    finally:
        spark.stop()


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description="One generation of a forest and the bare fit.")
    parser.add_argument("--sizes", type=int, nargs="+", default=[50_000, 200_000, 1_000_000])
    parser.add_argument("--engines", nargs="+", choices=["sklearn", "mllib"],
                        default=["sklearn", "mllib"])  # fmt: skip
    for name, default in (("features", 20), ("trees", 20), ("depth", 8), ("rounds", 3)):
        parser.add_argument(f"--{name}", type=int, default=default)
    run("forest", measure, parser)


if __name__ == "__main__":
    main()
