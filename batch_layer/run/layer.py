"""The batch layer: events into the history, the history into generations, again and again."""

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

#: Seconds until a run that failed for want of a broker is tried again, at most.
RETRY_SECONDS = 30.0


@dataclass(frozen=True)
class Resources:
    """What the layer works with.

    Attributes
    ----------
    spark : SparkSession
        With Delta Lake and the Kafka connector.
    input_broker, update_broker : Broker
        Connections to the clusters of the two topics.
    store : ModelStore
        Where generations go.
    clock : callable
        Milliseconds since 1970.
    """

    spark: SparkSession
    input_broker: Broker
    update_broker: Broker
    store: ModelStore
    clock: Callable[[], int] = lambda: time.time_ns() // 1_000_000


@dataclass
class Report:
    """What the last run did, and where its time went.

    Attributes
    ----------
    seconds : dict of str to float
        Of each step: ``ingest``, ``training``, ``commit``, ``publish``, ``ageing``.
    lines, refused : int
        Records read from the input topic, and those of them set aside.
    new_rows, past_rows : int
        History rows since the parent's cut and before it; 0 where nothing was new.
    records : int
        Records sent to the update topic.
    """

    seconds: dict[str, float] = field(default_factory=dict)
    lines: int = 0
    refused: int = 0
    new_rows: int = 0
    past_rows: int = 0
    records: int = 0

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Measure a block, and log that it is done."""
        started = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - started
        log.info("%s: done in %.1f s", name, self.seconds[name])


@dataclass(frozen=True)
class _Data:
    """The history at one version, split by the parent's cut."""

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
        Go on where input records are gone, instead of stopping; for the first run only.

    Attributes
    ----------
    report : Report
        Of the last :meth:`run_once`.
    """

    def __init__(self, settings: Settings, resources: Resources, accept_loss: bool = False) -> None:
        self.report = Report()
        self._settings = settings
        self._with = resources
        self._accept_loss = accept_loss
        path = f"{settings.batch.storage.data_dir.rstrip('/')}/{settings.app}"
        self._history = History(resources.spark, path)
        module = family_module(settings.app, "batch_layer", ("Batch",))
        self._family: BatchUpdate = module.Batch(settings)

    def run_forever(self) -> None:
        """Make generations, each interval from start to start; a late one starts at once.

        A broker that cannot be reached is tried again sooner than that.
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
        """Take in what the input topic holds, and make a generation of it.

        Returns
        -------
        Generation or None
            None where nothing was new, or the family built nothing.

        Raises
        ------
        InputLostError, UnusableTopicError, BrokerError, StoreError
            Nothing is half done then: the next run goes on from here.
        """
        self.report = Report()
        timestamp = self._next_id()
        ordered_topic(self._with.update_broker, self._settings.update_topic.name)
        self._with.store.discard_partial()
        parent = self._newest()
        if parent is not None and not self._with.store.is_published(parent.id):
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
        ingest = Ingest(self._settings, self._with.input_broker, self._history, self._accept_loss)
        ingested = ingest.run()
        self._accept_loss = False
        self.report.lines, self.report.refused = ingested.lines, ingested.refused
        return ingested

    def _data(self, ingested: Ingested, parent: Generation | None) -> _Data | None:
        """Return what there is to learn from; None where the parent knows it all."""
        complete = ingested.complete
        if complete is None:
            return None
        cut = _cut(parent, complete.topic_id)
        if cut == complete.offsets:
            return None
        version = self._history.version()
        rows = split_history(self._history.rows(version), complete.topic_id, cut)
        self.report.new_rows, self.report.past_rows = rows.n_new, rows.n_past
        return _Data(complete, version, rows) if rows.n_new else None

    def _build(self, timestamp: int, data: _Data, parent: Generation | None) -> Generation | None:
        log.info("training on %d new and %d past rows", self.report.new_rows, self.report.past_rows)
        directory = self._with.store.new(timestamp)
        rows = data.rows
        context = BatchContext(
            self._with.spark,
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
            self._with.store.discard_partial()
            log.info("no model: the family built none, or none reached the threshold")
            return None
        with self.report.step("commit"):
            failpoint("generation.before_commit")
            manifest = self._manifest(timestamp, data, built, parent)
            generation = self._with.store.commit(directory, manifest)
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
            created=self._with.clock(),
            engine=built.engine,
            hyperparameters=built.hyperparameters,
            metrics=built.metrics,
            candidates=built.candidates,
            parent=parent.id if parent else None,
            configuration_sha256=fingerprint(self._settings),
            code_version=__version__,
        )

    def _publish(self, generation: Generation) -> None:
        producer = self._with.update_broker.producer()
        try:
            publisher = Publisher(
                self._with.update_broker,
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
        self._with.store.mark_published(generation.id)

    def _age(self, data: _Data) -> None:
        storage = self._settings.batch.storage
        reference = retention.reference_time(self._with.clock(), data.rows.data_range[1])
        retention.age_history(self._history, storage, reference)
        self._history.compact()
        retention.age_generations(self._with.store, self._settings.app, storage, reference)

    def _next_id(self) -> int:
        """Return the id of the next generation: the clock's, and always above those before."""
        ids = self._with.store.ids()
        return max(self._with.clock(), ids[-1] + 1 if ids else 0)

    def _newest(self) -> Generation | None:
        """Return this app's newest generation that can be read."""
        for id_ in reversed(self._with.store.ids()):
            try:
                found = self._with.store.get(id_)
            except StoreError as error:
                log.warning("generation passed over: %s", error)
                continue
            if found.manifest.app == self._settings.app:
                return found
        return None


def _cut(parent: Generation | None, topic_id: str) -> dict[int, int]:
    """Return up to where the parent knows the topic; nowhere where it knew another one."""
    if parent is None or parent.manifest.topic_id != topic_id:
        return {}
    return dict(parent.manifest.cut)
