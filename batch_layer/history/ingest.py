"""Appends the records of the input topic to the history, each exactly once."""

from __future__ import annotations

import json
import logging
import tempfile
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pyarrow as pa
from pyspark.sql import functions as F
from pyspark.sql.functions import arrow_udf  # type: ignore[attr-defined]

from batch_layer.history.table import History, SourceOffsets
from common.base.failpoint import failpoint
from common.broker import Broker, Producer, TopicInfo
from common.broker.topics import InputLostError, TopicState, existing_topic
from common.runtime.families import input_lines
from common.runtime.spark import kafka_options
from common.wire.dead_letters import DeadLetter, read_values

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

    from common.config import Settings

log = logging.getLogger(__name__)

#: Number of dead letters that are sent before their acknowledgement is awaited.
_GROUP = 10_000
#: Largest number of rows in a micro-batch that is written to one file.
_SMALL = 200_000


@dataclass
class Ingested:
    """The records that one run read.

    Attributes
    ----------
    lines, refused : int
        Number of records read, and of those among them that went to the dead-letter topic.
    complete : SourceOffsets or None
        Offsets up to which the history is complete; None if it has never held a record.
    """

    lines: int = 0
    refused: int = 0
    complete: SourceOffsets | None = None


def starting_point(
    before: SourceOffsets | None, topic: TopicState, accept_loss: bool
) -> SourceOffsets:
    """Return the offsets from which to read the topic.

    Parameters
    ----------
    before : SourceOffsets or None
        Offsets up to which the history is complete.
    topic : TopicState
        The topic's identity and its offsets.
    accept_loss : bool
        Continue, instead of raising, if the topic has lost records.

    Raises
    ------
    InputLostError
        If the topic was truncated at its end, or, without `accept_loss`, if it is another topic
        or has lost records that the history does not hold.
    """
    name, topic_id = topic.info.name, topic.info.topic_id
    if before is None:
        return SourceOffsets(name, topic_id, dict(topic.begin))
    if before.topic_id != topic_id:
        if not accept_loss:
            raise InputLostError(_another_topic(before, topic.info))
        log.warning("history goes on with topic %s (%s) from its beginning", name, topic_id)
        return SourceOffsets(name, topic_id, dict(topic.begin))
    _refuse_rewound(before, topic)
    if lost := topic.gone(before.offsets):
        if not accept_loss:
            message = (
                f"topic {name!r} no longer holds events that the history lacks ({lost}): they "
                "were removed before they were read. Keep the topic longer than the batch "
                "interval; to go on without them, run once with --accept-loss"
            )
            raise InputLostError(message)
        log.warning("events accepted as lost from topic %s: %s", name, lost)
    return SourceOffsets(name, topic_id, topic.from_offsets(before.offsets))


class Ingest:
    """Reads the input topic from the end of the history to the topic's current end.

    Parameters
    ----------
    settings : Settings
        The configuration.
    broker : Broker
        Broker of the input topic.
    history : History
        The history to append to.
    accept_loss : bool
        Continue, instead of stopping, if the topic has lost records.
    """

    def __init__(
        self, settings: Settings, broker: Broker, history: History, accept_loss: bool = False
    ) -> None:
        self._settings = settings
        self._broker = broker
        self._history = history
        self._accept_loss = accept_loss

    def run(self) -> Ingested:
        """Append the records up to the topic's current end.

        Raises
        ------
        InputLostError
            If the topic was recreated, or has lost records that the history does not hold.
        MissingTopicError
            If the input topic or its dead-letter topic does not exist.
        BrokerError
            If the broker does not answer, or dead letters are not acknowledged.
        """
        names = self._settings.input_topic
        topic = TopicState.read(self._broker, names.name)
        existing_topic(self._broker, names.dead_letter)
        before = None if self._history.create() else self._history.complete()
        start = starting_point(before, topic, self._accept_loss)
        if start.offsets == topic.end:
            return Ingested(complete=before)
        return self._stream(start)

    def _stream(self, start: SourceOffsets) -> Ingested:
        """Read with Structured Streaming; the checkpoint is temporary and only for this run."""
        producer = self._broker.producer()
        sink = _Sink(self._settings, self._history, producer, Ingested(complete=start))
        try:
            with tempfile.TemporaryDirectory(prefix="gemsbok-batch-") as checkpoint:
                query = (
                    self._source(start)
                    .writeStream.foreachBatch(sink.take)
                    .option("checkpointLocation", f"file://{checkpoint}")
                    .trigger(availableNow=True)
                    .start()
                )
                try:
                    query.awaitTermination()
                except Exception as error:
                    # Spark wraps the error of a micro-batch; raise the original one.
                    raise sink.failure or error from None
                finally:
                    query.stop()
        finally:
            producer.close()
        return sink.done

    def _source(self, start: SourceOffsets) -> DataFrame:
        offsets = {str(partition): offset for partition, offset in start.offsets.items()}
        spark = self._history.spark
        return (
            spark.readStream.format("kafka")
            .options(**kafka_options(self._settings))
            .option("startingOffsets", json.dumps({start.topic: offsets}))
            .option("maxOffsetsPerTrigger", self._settings.batch.max_offsets_per_trigger)
            .option("minPartitions", spark.sparkContext.defaultParallelism)
            .load()
        )


@dataclass
class _Sink:
    """Appends the valid rows of micro-batches to the history; sends the others as dead letters."""

    settings: Settings
    history: History
    producer: Producer
    done: Ingested
    failure: Exception | None = field(default=None, init=False)

    def take(self, batch: DataFrame, _: int) -> None:
        """Process one micro-batch; the commit to the history is the last step."""
        try:
            self._take(batch)
        except Exception as error:
            self.failure = error
            raise

    def _take(self, batch: DataFrame) -> None:
        assert self.done.complete is not None
        checked = self._checked(batch, self.done.complete).persist()
        try:
            complete, lines, refused = self._summary(checked, self.done.complete)
            if refused:
                self._set_aside(checked.where("reason IS NOT NULL"))
            rows = checked.where("reason IS NULL").withColumn("value", _text("value"))
            failpoint("history.before_commit")
            self.history.append(rows.coalesce(1) if lines <= _SMALL else rows, complete)
            failpoint("history.after_commit")
        finally:
            checked.unpersist()
        self.done.lines += lines
        self.done.refused += refused
        self.done.complete = complete
        log.info("history: %d lines read, %d of them set aside", lines, refused)

    def _checked(self, batch: DataFrame, complete: SourceOffsets) -> DataFrame:
        """Return the rows that are not in the history yet, with its columns and a ``reason``."""
        return (
            batch.select(
                F.lit(complete.topic_id).alias("topic_id"),
                "partition",
                "offset",
                F.unix_millis("timestamp").alias("timestamp"),
                _text("key"),
                "value",
            )
            .where(_is_new(complete))
            .withColumn("reason", _reasons(self.settings)(F.col("value")))
        )

    def _summary(self, checked: DataFrame, before: SourceOffsets) -> tuple[SourceOffsets, int, int]:
        """Return the next offsets, the number of lines, and the number of refused lines."""
        counts = (
            checked.groupBy("partition")
            .agg(F.max("offset").alias("newest"), F.count("*"), F.count("reason"))
            .collect()
        )
        offsets = dict(before.offsets) | {row["partition"]: row["newest"] + 1 for row in counts}
        complete = SourceOffsets(before.topic, before.topic_id, offsets)
        return complete, sum(row[2] for row in counts), sum(row[3] for row in counts)

    def _set_aside(self, refused: DataFrame) -> None:
        """Send refused lines to the dead-letter topic and wait until they are acknowledged."""
        topic = self.settings.input_topic
        for count, row in enumerate(refused.toLocalIterator(), 1):
            line = None if row["value"] is None else bytes(row["value"])
            where = (topic.name, row["partition"], row["offset"])
            value, headers = DeadLetter(*where, "batch", row["reason"], line).record()
            self.producer.send(topic.dead_letter, row["key"], value, headers)
            if count % _GROUP == 0:
                self.producer.flush(self.settings.broker.delivery_timeout_seconds)
        self.producer.flush(self.settings.broker.delivery_timeout_seconds)


def _is_new(complete: SourceOffsets) -> Column:
    """Return the condition that a record is not in the history yet."""
    held = F.lit(False)
    for partition, offset in complete.offsets.items():
        held |= (F.col("partition") == partition) & (F.col("offset") < offset)
    return ~held


def _text(column: str) -> Column:
    return F.col(column).cast("string").alias(column)


def _reasons(settings: Settings):  # type: ignore[no-untyped-def]
    """Return a Spark UDF from a line's value to the reason why it is refused, or null."""
    lines, max_bytes = input_lines(settings), settings.input_topic.max_line_bytes

    def judge(values: pa.Array) -> pa.Array:
        return read_values(values, lines.read, max_bytes).reasons

    return arrow_udf(judge, "string")


def _refuse_rewound(before: SourceOffsets, topic: TopicState) -> None:
    truncated = {
        p: (topic.end.get(p, 0), at) for p, at in before.offsets.items() if topic.end.get(p, 0) < at
    }
    if not truncated:
        return
    ranges = ", ".join(
        f"partition {p}: it ends at {a}, the history at {b}" for p, (a, b) in truncated.items()
    )
    message = (
        f"topic {topic.info.name!r} was cut at its end ({ranges}); new events would take offsets "
        "that the history knows as others. Make the topic again under another name, or give "
        "batch.storage.data_dir a new folder"
    )
    raise InputLostError(message)


def _another_topic(before: SourceOffsets, now: TopicInfo) -> str:
    if before.topic not in ("", now.name):
        return (
            f"the history holds topic {before.topic!r} ({before.topic_id}), but "
            f"input_topic.name is {now.name!r} ({now.topic_id}). Set the name back, give "
            "batch.storage.data_dir a new folder, or run once with --accept-loss to add the new "
            "topic's events to the history"
        )
    return (
        f"topic {now.name!r} was deleted and made again: the history holds the one with id "
        f"{before.topic_id}, the broker has {now.topic_id}. What the old one held beyond the "
        "history is lost. To add the new topic's events to the history, run once with "
        "--accept-loss; to start anew, give batch.storage.data_dir a new folder"
    )
