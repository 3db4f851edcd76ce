"""One generation of a family beside the bare library's fit on the same data, in turn.

A module of a family says what is learned from and how the bare library fits it; here are the
rounds, the sizes and the figure.
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
    """What both sides learn from.

    Attributes
    ----------
    what : str
        In words, for the figure.
    settings : Settings
        Of our side: the family, its engine, its hyperparameters.
    history : Table
        Rows of the input topic.
    fit : callable
        The bare library's, on data in the form that it likes best.
    asked : str
        The target.
    notes : mapping
        What else the figure says.
    """

    what: str
    settings: Settings
    history: pa.Table
    fit: Fit
    asked: str
    notes: Mapping[str, object] = field(default_factory=dict)

    def run(self, spark: SparkSession, rounds: int) -> Figure:
        """Time the bare fit and our run, one after the other."""
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
    """Return how long our batch layer takes for one generation from history, all files written."""
    directory = Path(tempfile.mkdtemp(dir=folder))
    return seconds(partial(build, settings, history, directory))


def seconds(work: Callable[[], object]) -> float:
    """Do some work and return how long it took."""
    start = time.perf_counter()
    work()
    return round(time.perf_counter() - start, 3)


def vectors(
    spark: SparkSession, rows: NDArray[np.float64], labels: NDArray[np.float64] | None = None
) -> DataFrame:
    """Return a frame for MLlib, rows in order: a vector ``features``, ``label`` where given."""
    from pyspark.ml.functions import array_to_vector
    from pyspark.sql import functions as F

    offsets = np.arange(len(rows) + 1, dtype=np.int32) * rows.shape[1]
    columns = {"features": pa.ListArray.from_arrays(offsets, rows.ravel())}
    columns |= {} if labels is None else {"label": pa.array(labels)}
    frame = spark.createDataFrame(pa.table(columns))
    return frame.withColumn("features", array_to_vector(F.col("features")))


def spread(frame: DataFrame) -> DataFrame:
    """Return a frame as MLlib likes it best: in four partitions, in memory; rows in no order."""
    found = frame.repartition(4).cache()
    found.count()
    return found


def at_sizes(
    given: argparse.Namespace, contest: Callable[[SparkSession, str, int], Contest]
) -> Iterator[Figure]:
    """Hold a contest of each engine at each size."""
    with session() as spark:
        for rows in sorted(given.sizes):
            for engine in given.engines:
                yield contest(spark, engine, rows).run(spark, given.rounds)
                spark.catalog.clearCache()


def parser(description: str, **numbers: int) -> argparse.ArgumentParser:
    """Return a parser of sizes, engines and further numbers with their defaults."""
    found = argparse.ArgumentParser(description=description)
    found.add_argument("--sizes", type=int, nargs="+", default=[50_000, 200_000, 1_000_000])
    found.add_argument("--engines", nargs="+", choices=ENGINES, default=ENGINES)
    for name, default in numbers.items():
        found.add_argument(f"--{name}", type=int, default=default)
    return found
