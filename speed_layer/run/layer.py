"""The speed layer: one micro-batch after the other, folded in and published.

It keeps no state on disk.  What it has done is on the update topic: killed at any point, it
opens the newest generation again, applies the messages that a PROGRESS has closed, and folds
in from there.  A newer generation is taken up the same way, from its cut.
"""

from __future__ import annotations

import json
import logging
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pyarrow as pa
from pyspark.errors import StreamingQueryException
from threadpoolctl import threadpool_limits

from common.broker import Broker, BrokerError, Producer
from common.broker.topics import InputLostError, TopicState
from common.config import Settings
from common.replica.updates import ModelMessage
from common.runtime.spark import kafka_options
from common.store.generations import ModelStore, StoreError
from common.wire.dead_letters import ReadLines
from common.wire.messages import MessageError
from speed_layer.api import Events, SpeedModel
from speed_layer.run.follower import Follower
from speed_layer.run.view import View, open_view

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession
    from pyspark.sql.streaming.query import StreamingQuery

log = logging.getLogger(__name__)

CHECKPOINT_MANAGER = (
    "org.apache.spark.sql.execution.streaming.checkpointing.FileSystemBasedCheckpointFileManager"
)
MAX_BACK_OFF_SECONDS = 10.0


@dataclass(frozen=True)
class Family:
    """What the layer needs of the model family."""

    new_model: Callable[[], SpeedModel]
    read: ReadLines


@dataclass
class Totals:
    """What the layer has done since its start."""

    events: int = 0
    bad_lines: int = 0
    updates: int = 0
    micro_batches: int = 0
    seconds: float = 0.0
    counts: Counter[str] = field(default_factory=Counter)


class SpeedLayer:
    """Follows the input topic and publishes the family's updates.

    Parameters
    ----------
    settings : Settings
        The configuration.
    spark : SparkSession
        The session to stream with.
    family : Family
        The model family.
    connect : callable
        Opens the broker.
    """

    def __init__(
        self,
        settings: Settings,
        spark: SparkSession,
        family: Family,
        connect: Callable[[], Broker],
    ) -> None:
        self._settings = settings
        self._spark = spark
        self._family = family
        self._connect = connect
        self._store = ModelStore.of(settings.batch.storage)
        self._follower = Follower(settings.app, settings.update_topic, self._store, connect)
        self._folding = threading.Lock()
        self._stop = threading.Event()
        self.totals = Totals()

    def stop(self) -> None:
        """Finish the micro-batch that is under way and leave :meth:`run`."""
        self._stop.set()

    def run(self) -> None:
        """Work until :meth:`stop`.

        Raises
        ------
        InputLostError
            If events after the generation's cut are gone from the input topic.
        """
        self._follower.start()
        try:
            # A micro-batch's matrices are small: BLAS's threads would wait for one another much
            # longer than they compute.
            with threadpool_limits(1, "blas"):
                self._work()
        finally:
            self._follower.close()

    def _work(self) -> None:
        failures = 0
        current: ModelMessage | None = None
        while not self._stop.is_set():
            try:
                current = self._next_model(current)
                if current is not None:
                    self._work_on(current)
                    failures = 0
            except (BrokerError, StreamingQueryException) as error:
                failures += 1
                self._back_off(error, failures)

    def _next_model(self, current: ModelMessage | None) -> ModelMessage | None:
        """Return the newest model, or the one at hand if there is no newer one."""
        if current is None:
            return self._follower.newer_than(None, timeout=0.5)
        return self._follower.newer_than(current, timeout=0) or current

    def _back_off(self, error: Exception, failures: int) -> None:
        self.totals.counts["restarts"] += 1
        seconds = min(0.5 * 2**failures, MAX_BACK_OFF_SECONDS)
        reason = str(error).partition("\n")[0]
        log.warning("micro-batches stopped: %s; again in %.1f s", reason, seconds)
        self._stop.wait(seconds)

    def _work_on(self, source: ModelMessage) -> None:
        """Fold into one generation until a newer one appears."""

        def is_over() -> bool:
            return self._stop.is_set() or self._follower.newer_than(source, 0) is not None

        with self._connect() as broker:
            try:
                topic = self._settings.update_topic.name
                view = open_view(source, self._family.new_model, broker, topic, is_over)
            except (StoreError, MessageError) as error:
                self._follower.refuse(source, error)
                self._wait_for_newer(source)
                return
            if view is None:
                return
            start = self._starting_offsets(view, broker)
            producer = broker.producer()
            try:
                self._stream(view, start, producer)
            finally:
                producer.close()

    def _wait_for_newer(self, source: ModelMessage) -> None:
        while not self._stop.is_set() and self._follower.newer_than(source, 0.5) is None:
            pass

    def _starting_offsets(self, view: View, broker: Broker) -> dict[int, int]:
        """Where to begin on the input topic; raises InputLostError if that is gone."""
        topic = TopicState.read(broker, self._settings.input_topic.name)
        files = view.source.files
        if view.generation is None:
            return dict(topic.end)
        if files and topic.info.topic_id != files.manifest.topic_id:
            message = (
                f"the input topic {topic.info.name!r} is not the one that generation "
                f"{view.generation} was trained on: it was deleted and made again, or the "
                "configuration names another. Run the batch layer for a generation of this one"
            )
            raise InputLostError(message)
        if lost := topic.gone(view.offsets):
            message = (
                f"topic {topic.info.name!r} no longer holds events after the cut of generation "
                f"{view.generation} ({lost}). Run the batch layer for a new generation, and keep "
                "the topic longer"
            )
            raise InputLostError(message)
        return topic.from_offsets(view.offsets)

    # -- streaming ----------------------------------------------------------------------

    def _stream(self, view: View, start: dict[int, int], producer: Producer) -> None:
        with tempfile.TemporaryDirectory(prefix="gemsbok-speed-") as checkpoint:
            query = self._query(view, start, producer, checkpoint)
            try:
                while not self._stop.is_set() and query.isActive:
                    if self._follower.newer_than(view.source, timeout=0.1) is not None:
                        break
            finally:
                with self._folding:
                    view.retired = True
                query.stop()
            if not self._stop.is_set():
                self._raise_failure(query)

    @staticmethod
    def _raise_failure(query: StreamingQuery) -> None:
        error = query.exception()
        if error is not None:
            raise error

    def _query(
        self, view: View, start: dict[int, int], producer: Producer, checkpoint: str
    ) -> StreamingQuery:
        settings = self._settings
        self._spark.conf.set("spark.sql.streaming.checkpointFileManagerClass", CHECKPOINT_MANAGER)
        offsets = {settings.input_topic.name: {str(p): at for p, at in start.items()}}
        stream = (
            self._spark.readStream.format("kafka")
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

        def fold(batch: DataFrame, _: int) -> None:
            self._fold(view, batch, producer)

        return (
            stream.writeStream.foreachBatch(fold)
            .option("checkpointLocation", f"file://{checkpoint}")
            .trigger(processingTime=f"{settings.speed.interval_seconds} seconds")
            .start()
        )

    def _fold(self, view: View, batch: DataFrame, producer: Producer) -> None:
        """Fold one micro-batch in and publish it, unless another view has taken over.

        The lock spans Spark's part too: a query that is stopped in the middle of it dies
        noisily.
        """
        with self._folding:
            if view.retired:
                return
            started = time.perf_counter()
            events = batch.toArrow()
            if events.num_rows:
                self._publish(view, events, producer)
                self.totals.seconds += time.perf_counter() - started

    def _publish(self, view: View, events: pa.Table, producer: Producer) -> None:
        self._take_foreign(view)
        if view.model.fraction_loaded < self._settings.speed.min_model_load_fraction:
            # Only with a model that is not ours, whose vectors come one by one (Oryx's rule).
            self.totals.counts["events_before_the_model"] += events.num_rows
            return
        # The lines that cannot be read are set aside by the batch layer.
        rows, limit = events.combine_chunks(), self._settings.input_topic.max_line_bytes
        good = Events.read(rows.to_batches()[0], self._family.read, limit)
        topic, sent = self._settings.update_topic.name, 0
        for message in view.fold(events, good):
            headers = message.stamp.to_headers() if message.stamp else ()
            producer.send(topic, message.key, message.value, headers)
            sent += 1
        producer.flush(self._settings.broker.delivery_timeout_seconds)
        self.totals.events += events.num_rows
        self.totals.bad_lines += events.num_rows - len(good)
        self.totals.updates += sent
        self.totals.micro_batches += 1

    def _take_foreign(self, view: View) -> None:
        for found, record in self._follower.take_foreign():
            try:
                if isinstance(found, ModelMessage):
                    view.model.load(found)
                else:
                    view.model.apply_foreign(found)
            except MessageError as error:
                self.totals.counts["bad_updates"] += 1
                code = "bad_model" if isinstance(found, ModelMessage) else "bad_update"
                self._follower.set_aside(record, code, error)
