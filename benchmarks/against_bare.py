"""Compares a family's generation with the bare library's fit of the same data, alternately.

A family's module has the data and the bare fit; this one has the rounds, sizes and figures.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from batch_layer.history.split import HistorySplit
from benchmarks.layers import as_history, build, session
from benchmarks.report import Figure
from common.config import Settings

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

Fit = Callable[[], object]
ENGINES = ("sklearn", "mllib")
READ = ("partition", "offset", "timestamp", "value")


@dataclass(frozen=True)
class Contest:
    """The data and settings of both sides.

    Attributes
    ----------
    what : str
        Title of the figure.
    settings : Settings
        Our side's settings: family, engine, hyperparameters.
    history : Table
        Rows of the input topic.
    fit : callable
        The bare library's fit, of data in its preferred form.
    asked : str
        The target.
    notes : mapping
        Further notes of the figure.
    """

    what: str
    settings: Settings
    history: pa.Table
    fit: Fit
    asked: str
    notes: Mapping[str, object] = field(default_factory=dict)

    def run(self, spark: SparkSession, rounds: int) -> Figure:
        """Time the bare fit and our run alternately."""
        ours, theirs = [], []
        with tempfile.TemporaryDirectory(prefix="contest-") as folder:
            history = as_history(spark, self.history, Path(folder))
            reading = seconds(lambda: list(history.read(history.new, READ)))
            for _ in range(rounds):
                theirs.append(seconds(self.fit))
                ours.append(generation_seconds(self.settings, history, Path(folder)))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        notes = {
            "history to Arrow alone": f"{reading} s",
            "peak of the Python driver so far": f"{peak:.1f} GiB",
            **self.notes,
        }
        return Figure(self.what, "s", ours, "the bare fit", theirs, self.asked, notes)


def generation_seconds(settings: Settings, history: HistorySplit, folder: Path) -> float:
    """Return the time in which our batch layer builds a generation and writes all its files."""
    directory = Path(tempfile.mkdtemp(dir=folder))
    return seconds(partial(build, settings, history, directory))


def seconds(work: Callable[[], object]) -> float:
    """Call `work` and return its duration."""
    start = time.perf_counter()
    work()
    return round(time.perf_counter() - start, 3)


def vectors(
    spark: SparkSession, rows: NDArray[np.float64], labels: NDArray[np.float64] | None = None
) -> DataFrame:
    """Return a DataFrame for MLlib, rows in order: a vector ``features``, and any ``label``."""
    from pyspark.ml.functions import array_to_vector
    from pyspark.sql import functions as F

    offsets = np.arange(len(rows) + 1, dtype=np.int32) * rows.shape[1]
    columns = {"features": pa.ListArray.from_arrays(offsets, rows.ravel())}
    columns |= {} if labels is None else {"label": pa.array(labels)}
    frame = spark.createDataFrame(pa.table(columns))
    return frame.withColumn("features", array_to_vector(F.col("features")))


def spread(frame: DataFrame) -> DataFrame:
    """Return a DataFrame in MLlib's preferred form: four partitions, cached; rows in no order."""
    cached = frame.repartition(4).cache()
    cached.count()
    return cached


def at_sizes(
    given: argparse.Namespace, contest: Callable[[SparkSession, str, int], Contest]
) -> Iterator[Figure]:
    """Yield the figure of each engine at each size."""
    with session() as spark:
        for rows in sorted(given.sizes):
            for engine in given.engines:
                yield contest(spark, engine, rows).run(spark, given.rounds)
                spark.catalog.clearCache()


def parser(description: str, **numbers: int) -> argparse.ArgumentParser:
    """Return a parser for sizes, engines and further numbers with their defaults."""
    arguments = argparse.ArgumentParser(description=description)
    arguments.add_argument("--sizes", type=int, nargs="+", default=[50_000, 200_000, 1_000_000])
    arguments.add_argument("--engines", nargs="+", choices=ENGINES, default=ENGINES)
    for name, default in numbers.items():
        arguments.add_argument(f"--{name}", type=int, default=default)
    return arguments
