"""The batch layer's loop: ingest events, train a generation, publish it, remove expired data."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pyspark.errors import StreamingQueryException

from batch_layer.api import BatchContext, BatchUpdate, Built
from batch_layer.history.ingest import Ingest, Ingested
from batch_layer.history.split import HistorySplit, split_history
from batch_layer.history.table import History, SourceOffsets
from batch_layer.run import retention
from common import __version__
from common.base.failpoint import failpoint
from common.broker import Broker, BrokerError
from common.broker.topics import ordered_topic
from common.config import Settings, fingerprint
from common.replica.publisher import Publisher
from common.runtime.families import family_module
from common.store.generations import Generation, Manifest, ModelStore, StoreError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

log = logging.getLogger(__name__)

#: Longest pause in seconds before a run is repeated that failed because of the broker.
RETRY_SECONDS = 30.0


@dataclass(frozen=True)
class Resources:
    """External resources of the layer.

    Attributes
    ----------
    spark : SparkSession
        A session with Delta Lake and the Kafka connector.
    input_broker, update_broker : Broker
        Connections to the clusters of the two topics.
    store : ModelStore
        The store of generations.
    clock : callable
        Returns milliseconds since 1970.
    """

    spark: SparkSession
    input_broker: Broker
    update_broker: Broker
    store: ModelStore
    clock: Callable[[], int] = lambda: time.time_ns() // 1_000_000


@dataclass
class Report:
    """Counts and times of one run.

    Attributes
    ----------
    seconds : dict of str to float
        Duration of each step: ``ingest``, ``training``, ``commit``, ``publish``, ``ageing``.
    lines, refused : int
        Number of records read from the input topic, and of those among them that were refused.
    new_rows, past_rows : int
        Number of history rows since the parent's cut and before it; 0 if nothing was new.
    records : int
        Number of records sent to the update topic.
    """

    seconds: dict[str, float] = field(default_factory=dict)
    lines: int = 0
    refused: int = 0
    new_rows: int = 0
    past_rows: int = 0
    records: int = 0

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Measure the duration of a block and log it."""
        started = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - started
        log.info("%s: done in %.1f s", name, self.seconds[name])


@dataclass(frozen=True)
class _Data:
    """One version of the history, split at the parent's cut."""

    complete: SourceOffsets
    version: int
    rows: HistorySplit


class BatchLayer:
    """One app's batch layer.

    Parameters
    ----------
    settings : Settings
        The configuration.
    resources : Resources
        Session, brokers, store, clock.
    accept_loss : bool
        Continue, instead of stopping, if input records are lost; for the first run only.

    Attributes
    ----------
    report : Report
        Report of the last :meth:`run_once`.
    """

    def __init__(self, settings: Settings, resources: Resources, accept_loss: bool = False) -> None:
        self.report = Report()
        self._settings = settings
        self._resources = resources
        self._accept_loss = accept_loss
        path = f"{settings.batch.storage.data_dir.rstrip('/')}/{settings.app}"
        self._history = History(resources.spark, path)
        module = family_module(settings.app, "batch_layer", ("Batch",))
        self._family: BatchUpdate = module.Batch(settings)

    def run_forever(self) -> None:
        """Run forever, one run per interval from start to start; a late run starts at once.

        A run that fails because of the broker is repeated earlier.
        """
        interval = self._settings.batch.interval_seconds
        while True:
            started = time.monotonic()
            try:
                self.run_once()
                wait = max(0.0, started + interval - time.monotonic())
            except (BrokerError, StreamingQueryException) as error:
                if isinstance(error, BrokerError) and not error.retriable:
                    raise
                log.warning("no generation: %s", str(error).partition("\n")[0])
                wait = min(interval, RETRY_SECONDS)
            log.info("next run in %.0f s", wait)
            time.sleep(wait)

    def run_once(self) -> Generation | None:
        """Ingest the input topic, and build and publish a generation.

        Returns
        -------
        Generation or None
            None if nothing was new, or the family built nothing.

        Raises
        ------
        InputLostError, UnusableTopicError, BrokerError, StoreError
            Completed steps stay valid: the next run continues after them.
        """
        self.report = Report()
        ids = self._resources.store.ids()
        # The clock's, and always above those before.
        timestamp = max(self._resources.clock(), ids[-1] + 1 if ids else 0)
        ordered_topic(self._resources.update_broker, self._settings.update_topic.name)
        self._resources.store.discard_partial()
        parent = self._newest()
        if parent is not None and not self._resources.store.is_published(parent.id):
            log.info("generation %d was stored but not published", parent.id)
            self._publish(parent)
        with self.report.step("ingest"):
            ingested = self._ingest()
        data = self._data(ingested, parent)
        if data is None:
            log.info("nothing new: no generation")
            return None
        generation = self._build(timestamp, data, parent)
        if generation is not None:
            self._publish(generation)
        with self.report.step("ageing"):
            self._age(data)
        return generation

    def _ingest(self) -> Ingested:
        ingest = Ingest(
            self._settings, self._resources.input_broker, self._history, self._accept_loss
        )
        ingested = ingest.run()
        self._accept_loss = False
        self.report.lines, self.report.refused = ingested.lines, ingested.refused
        return ingested

    def _data(self, ingested: Ingested, parent: Generation | None) -> _Data | None:
        """Return the history to train on; None if the parent covers all of it."""
        complete = ingested.complete
        if complete is None:
            return None
        knows_topic = parent is not None and parent.manifest.topic_id == complete.topic_id
        cut = dict(parent.manifest.cut) if parent and knows_topic else {}
        if cut == complete.offsets:
            return None
        version = self._history.version()
        rows = split_history(self._history.rows(version), complete.topic_id, cut)
        self.report.new_rows, self.report.past_rows = rows.n_new, rows.n_past
        return _Data(complete, version, rows) if rows.n_new else None

    def _build(self, timestamp: int, data: _Data, parent: Generation | None) -> Generation | None:
        log.info("training on %d new and %d past rows", self.report.new_rows, self.report.past_rows)
        directory = self._resources.store.new(timestamp)
        rows = data.rows
        context = BatchContext(
            self._resources.spark,
            self._settings,
            directory,
            timestamp,
            rows.n_new + rows.n_past,
            rows.read,
        )
        with self.report.step("training"):
            built = self._family.run(context, rows.new, rows.past)
        failpoint("training")
        if built is None:
            self._resources.store.discard_partial()
            log.info("no model: the family built none, or none reached the threshold")
            return None
        with self.report.step("commit"):
            failpoint("generation.before_commit")
            manifest = self._manifest(timestamp, data, built, parent)
            generation = self._resources.store.commit(directory, manifest)
            failpoint("generation.after_commit")
        return generation

    def _manifest(
        self, timestamp: int, data: _Data, built: Built, parent: Generation | None
    ) -> Manifest:
        return Manifest(
            generation=timestamp,
            app=self._settings.app,
            model_file=built.model_file,
            files={},
            topic_id=data.complete.topic_id,
            cut=data.complete.offsets,
            history_version=data.version,
            data_range=data.rows.data_range,
            created=self._resources.clock(),
            engine=built.engine,
            hyperparameters=built.hyperparameters,
            metrics=built.metrics,
            candidates=built.candidates,
            parent=parent.id if parent else None,
            configuration_sha256=fingerprint(self._settings),
            code_version=__version__,
        )

    def _publish(self, generation: Generation) -> None:
        producer = self._resources.update_broker.producer()
        try:
            publisher = Publisher(
                self._resources.update_broker,
                producer,
                self._settings.update_topic.name,
                self._settings.update_topic.max_size,
                self._settings.broker.delivery_timeout_seconds,
            )
            with self.report.step("publish"):
                updates = self._family.updates(generation)
                self.report.records += publisher.publish(generation, updates)
        finally:
            producer.close()
        self._resources.store.mark_published(generation.id)

    def _age(self, data: _Data) -> None:
        storage = self._settings.batch.storage
        reference = retention.reference_time(self._resources.clock(), data.rows.data_range[1])
        retention.age_history(self._history, storage, reference)
        self._history.compact()
        retention.age_generations(self._resources.store, self._settings.app, storage, reference)

    def _newest(self) -> Generation | None:
        """Return this app's newest readable generation; None if there is none."""
        for id_ in reversed(self._resources.store.ids()):
            try:
                generation = self._resources.store.get(id_)
            except StoreError as error:
                log.warning("generation passed over: %s", error)
                continue
            if generation.manifest.app == self._settings.app:
                return generation
        return None
