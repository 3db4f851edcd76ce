"""Runs the three layers of a family in one process, without a broker: train, serve, follow.

The settings name the family; lines become rows of the history here.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from batch_layer.api import BatchContext, Built
from batch_layer.history.split import HistorySplit, split_history
from common.base import paths
from common.config import Settings, Spark
from common.replica.updates import stored
from common.runtime.families import family_module, input_lines
from common.runtime.spark import spark_properties
from common.store.generations import Generation, Manifest, ModelStore
from speed_layer.api import Events

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

#: Timestamp of all events and generations, in milliseconds since 1970.
NOW = 1_700_000_000_000
TOPIC_ID = "benchmark"


@contextmanager
def session() -> Iterator[SparkSession]:
    """Run Spark with the layers' properties, and a heap that is large enough for a bare fit."""
    from pyspark.sql import SparkSession

    os.environ["PYSPARK_PYTHON"] = sys.executable
    with tempfile.TemporaryDirectory(prefix="spark-") as folder:
        config = {"spark.local.dir": folder, "spark.driver.maxResultSize": "0"}
        layer = Spark(master="local[2]", driver_memory="3g", config=config)
        builder = SparkSession.builder
        for name, value in spark_properties(layer, "benchmark", paths.home()).items():
            builder = builder.config(name, value)
        spark = builder.getOrCreate()
        try:
            yield spark
        finally:
            spark.stop()


def rows_of(
    lines: Sequence[str], times: NDArray[np.int64] | None = None, partitions: int = 1
) -> pa.Table:
    """Return lines as rows of the input topic, distributed round robin over its partitions.

    Parameters
    ----------
    lines : sequence of str
        The records' values.
    times : ndarray of int64, optional
        Milliseconds since 1970 of each line; :data:`NOW` by default.
    partitions : int
        Number of partitions.
    """
    numbers = np.arange(len(lines))
    return pa.table(
        {
            "partition": pa.array((numbers % partitions).astype(np.int32)),
            "offset": pa.array(numbers // partitions),
            "timestamp": pa.array(np.full(len(lines), NOW) if times is None else times),
            "key": pa.nulls(len(lines), pa.string()),
            "value": pa.array(lines, pa.string()),
        }
    )


def as_history(spark: SparkSession, rows: pa.Table, folder: Path) -> HistorySplit:
    """Write rows to a file with four row groups, and return them as a split history."""
    path = Path(tempfile.mkdtemp(dir=folder)) / "history.parquet"
    topic = pa.array([TOPIC_ID] * len(rows))
    table = rows.append_column("topic_id", topic)
    pq.write_table(table, path, row_group_size=max(1, len(rows) // 4))
    return split_history(spark.read.parquet(str(path)), TOPIC_ID, {})


def build(settings: Settings, history: HistorySplit, directory: Path) -> Built:
    """Build a model from history into a folder, as the batch layer does.

    Raises
    ------
    RuntimeError
        If nothing was built.
    """
    spark, n_events = history.new.sparkSession, history.n_new
    context = BatchContext(spark, settings, directory, NOW, n_events, history.read)
    batch = family_module(settings.app, "batch_layer", ("Batch",)).Batch(settings)
    built: Built | None = batch.run(context, history.new, history.past)
    if built is None:
        message = f"{settings.app}: nothing was built from {n_events} events"
        raise RuntimeError(message)
    return built


def serve(settings: Settings, generation: Generation) -> Any:
    """Load a generation as the serving layer does; return the family's ``Serving``."""
    model = family_module(settings.app, "serving_layer", ("Serving",)).Serving(settings)
    model.load(stored(generation))
    return model


def follow(
    settings: Settings, generation: Generation, micro_batches: Sequence[pa.RecordBatch]
) -> Any:
    """Load a generation, and let the speed layer fold micro-batches in; they hold lines."""
    speed = family_module(settings.app, "speed_layer", ("Speed",)).Speed(settings)
    speed.load(stored(generation))
    model = serve(settings, generation)
    lines, limit = input_lines(settings), settings.input_topic.max_line_bytes
    for rows in micro_batches:
        for update in speed.build_updates(Events.read(rows, lines.read, limit)):
            model.apply(update)
    return model


@dataclass(frozen=True)
class Layers:
    """Spark, a folder for generations, and the size of the speed layer's micro-batches."""

    spark: SparkSession
    folder: Path
    micro_batch: int

    def train(self, settings: Settings, lines: Sequence[str]) -> Generation:
        """Train a generation on lines."""
        store = ModelStore(tempfile.mkdtemp(dir=self.folder))
        directory = store.new(NOW)
        built = build(settings, as_history(self.spark, rows_of(lines), self.folder), directory)
        manifest = Manifest(NOW, settings.app, built.model_file, {}, "t", {0: len(lines)})
        return store.commit(directory, manifest)

    def lambda_models(
        self, settings: Settings, other_seed: Settings, lines: Sequence[str]
    ) -> tuple[Any, dict[str, Any]]:
        """Return the model of batch(all), and the models to compare with it, by name.

        Besides batch and speed together, two models give the scale: batch on the first 90 %
        alone, and a second batch(all) with another seed.
        """
        cut = round(len(lines) * 0.9)
        first = self.train(settings, lines[:cut])
        late = rows_of(lines[cut:]).to_batches(self.micro_batch)
        models = {
            "batch(90 %) + speed(10 %)": follow(settings, first, late),
            "batch(90 %) alone": serve(settings, first),
            "batch(all), another seed": serve(other_seed, self.train(other_seed, lines)),
        }
        return serve(settings, self.train(settings, lines)), models
