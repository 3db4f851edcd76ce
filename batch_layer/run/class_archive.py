"""``python -m batch_layer.run.class_archive``: let Java keep Spark's classes ready.

Most of a Spark session's start is Java reading classes.  An archive of them (Java's class data
sharing) is made once, after the jars were fetched; every later session takes it.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from pyspark.sql import SparkSession

from batch_layer.history.table import SCHEMA, History, SourceOffsets
from common.base.paths import home
from common.config import Spark
from common.runtime.spark import class_archive, spark_properties

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

TIMEOUT_SECONDS = 120.0


def make(state: Path) -> Path:
    """Make the archive, or make it anew; returns its file.

    Parameters
    ----------
    state : Path
        State folder; its ``jars/spark`` must be filled.
    """
    target = class_archive(state)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        new = Path(folder) / target.name
        spark = _session(state, new)
        _use(spark, f"{folder}/history")
        _end(spark)
        new.rename(target)
    return target


def _session(state: Path, new: Path) -> SparkSession:
    options = f'-Xlog:disable -Xlog:all=error:stderr "-XX:ArchiveClassesAtExit={new}"'
    table = Spark(master="local[2]", config={"spark.driver.extraJavaOptions": options})
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    builder = SparkSession.builder
    for key, value in spark_properties(table, "gemsbok-class-archive", state).items():
        builder = builder.config(key, value)
    return builder.getOrCreate()


def _use(spark: SparkSession, path: str) -> None:
    """Do once, in small, what the layers do: Java archives the classes that were used."""
    history = History(spark, path)
    history.create()
    row = ("id", 0, 0, 0, "key", "value")
    rows = spark.createDataFrame([row], SCHEMA.replace("NOT NULL", ""))
    history.append(rows, SourceOffsets("topic", "id", {0: 1}))
    history.complete()

    def take(batch: DataFrame, _: int) -> None:
        batch.persist().toArrow()
        batch.unpersist()

    stream = spark.readStream.format("delta").load(path).writeStream.foreachBatch(take)
    stream.option("checkpointLocation", f"{path}-checkpoint").trigger(
        availableNow=True
    ).start().awaitTermination()


def _end(spark: SparkSession) -> None:
    """End the Java process in good order: it writes the archive as its last act."""
    gateway = spark.sparkContext._gateway
    assert gateway is not None
    java = gateway.proc
    spark.stop()
    gateway.shutdown()
    java.stdin.close()
    java.wait(TIMEOUT_SECONDS)


if __name__ == "__main__":
    print(make(home()))
