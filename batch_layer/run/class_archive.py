"""Creates the class-data archive of Spark: ``python -m batch_layer.run.class_archive``.

Starting a Spark session is mostly Java loading classes.  An archive of them (Java's class data
sharing) is created once, after the jars are fetched; every later session uses it.
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
    """Create or replace the archive; return its path.

    Parameters
    ----------
    state : Path
        State folder, with the jars in ``jars/spark``.
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
    """Run the layers' operations once on tiny data, so that Java loads their classes."""
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
    """End the Java process normally: it writes the archive when it exits."""
    gateway = spark.sparkContext._gateway
    assert gateway is not None
    java = gateway.proc
    spark.stop()
    gateway.shutdown()
    java.stdin.close()
    java.wait(TIMEOUT_SECONDS)


if __name__ == "__main__":
    print(make(home()))
