"""The input topic as a stream of micro-batches, by Spark."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Protocol

import pyarrow as pa

from common.config import Settings
from common.runtime.spark import kafka_options

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession
    from pyspark.sql.streaming.query import StreamingQuery

CHECKPOINT_MANAGER = (
    "org.apache.spark.sql.execution.streaming.checkpointing.FileSystemBasedCheckpointFileManager"
)

#: Takes a micro-batch, given as what reads it: ``partition, offset, timestamp (ms), value``.
Fold = Callable[[Callable[[], pa.Table]], None]


class StreamError(RuntimeError):
    """The stream has ended by itself; opened again, it may go on."""


class Stream(Protocol):
    """Micro-batches that come on a thread of their own until the stream is left."""

    @property
    def active(self) -> bool:
        """Whether micro-batches still come."""

    def raise_failure(self) -> None:
        """Raise :class:`StreamError` if the stream has ended by itself."""


#: Opens the stream from offsets of the input topic on.
OpenStream = Callable[[Mapping[int, int], Fold], AbstractContextManager[Stream]]


class SparkStream:
    """A query of Spark.

    Parameters
    ----------
    query : StreamingQuery
        It runs.
    """

    def __init__(self, query: StreamingQuery) -> None:
        self._query = query

    @property
    def active(self) -> bool:
        """Whether micro-batches still come."""
        return bool(self._query.isActive)

    def raise_failure(self) -> None:
        """Raise :class:`StreamError` if the query has failed."""
        error = self._query.exception()
        if error is not None:
            raise StreamError(str(error).partition("\n")[0]) from error


@contextmanager
def spark_stream(
    settings: Settings, spark: SparkSession, start: Mapping[int, int], fold: Fold
) -> Iterator[Stream]:
    """Stream the input topic by Spark for the length of the block.

    Parameters
    ----------
    settings : Settings
        The configuration.
    spark : SparkSession
        The session to stream with.
    start : mapping of int to int
        For each partition the first offset.
    fold : callable
        Takes each micro-batch.
    """
    spark.conf.set("spark.sql.streaming.checkpointFileManagerClass", CHECKPOINT_MANAGER)
    offsets = {settings.input_topic.name: {str(p): at for p, at in start.items()}}
    stream = (
        spark.readStream.format("kafka")
        .options(**kafka_options(settings))
        .option("startingOffsets", json.dumps(offsets))
        .option("maxOffsetsPerTrigger", settings.speed.max_offsets_per_trigger)
        .load()
        .selectExpr(
            "partition",
            "offset",
            "unix_millis(timestamp) AS timestamp",
            "value",
        )
    )

    def take(batch: DataFrame, _: int) -> None:
        fold(batch.toArrow)

    with tempfile.TemporaryDirectory(prefix="gemsbok-speed-") as checkpoint:
        query = (
            stream.writeStream.foreachBatch(take)
            .option("checkpointLocation", f"file://{checkpoint}")
            .trigger(processingTime=f"{settings.speed.interval_seconds} seconds")
            .start()
        )
        try:
            yield SparkStream(query)
        finally:
            query.stop()
