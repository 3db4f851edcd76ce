"""The consumer: follows the update topic, and hands on what it finds there.

What requests see is in :mod:`serving_layer.model.generations`.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence

from common.broker import Broker, BrokerError, Reader, Record
from common.config import Settings
from common.replica.updates import start_position, stored
from common.runtime.families import has_layer
from common.store.generations import Generation, StoreError
from common.wire.messages import MODEL, MODEL_REF, PROGRESS, UP, Message, MessageError
from serving_layer.api import ServingModel
from serving_layer.model.generations import Generations, Sources

log = logging.getLogger(__name__)

RETRY_SECONDS = 1.0
#: Updates that come one by one are gathered so long: to wake this thread for each would cost
#: requests more than what it does then.
GATHER_SECONDS = 0.01


class Consumer:
    """Keeps the served model up to date, on a thread of its own.

    Only this thread writes; a request reads :attr:`model` once and keeps what it got.
    """

    def __init__(self, settings: Settings, sources: Sources) -> None:
        self._settings = settings
        self._sources = sources
        self._generations = Generations(settings, sources)
        self._start_offsets: dict[int, int] | None = None
        self._positions: dict[int, int] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="update-consumer", daemon=True)
        self._foreign: list[str] = []
        self._failure: Exception | None = None
        self.counts = self._generations.counts
        self.connected = False

    @property
    def model(self) -> ServingModel | None:
        """The model that requests see."""
        served = self._generations.served
        return served.model if served else None

    @property
    def generation(self) -> int | None:
        """Id of the generation that is served."""
        served = self._generations.served
        return served.generation if served else None

    @property
    def model_age_seconds(self) -> float | None:
        """Seconds since the served generation was built."""
        served = self._generations.served
        created = served.created if served else None
        return None if created is None else max(0.0, self._sources.clock() - created)

    def start(self) -> None:
        """Start to follow the topic."""
        self._thread.start()

    def close(self) -> None:
        """Stop, waiting for the thread."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=10)

    def status(self) -> dict[str, object]:
        """Say what is served, what is being built, and what is missing."""
        building = self._generations.building
        model = self.model
        return {
            "connected": self.connected,
            "generation": self.generation,
            "fraction_loaded": model.fraction_loaded if model else 0.0,
            "building": building.generation if building else None,
            "building_fraction_loaded": building.model.fraction_loaded if building else None,
            "counts": dict(self.counts),
            "missing": self._missing(),
        }

    def _missing(self) -> str | None:
        if self._failure is not None:
            return f"the model is kept up to date no more, restart this process: {self._failure}"
        if not self.connected:
            return f"no connection to the broker {self._settings.update_broker}"
        # In this order: the one becomes the other.
        building, served = self._generations.building, self._generations.served
        if served is not None:
            return None
        if building is not None:
            return "the first model generation is being loaded"
        if self._generations.refusal:
            return f"the newest model is refused: {self._generations.refusal}"
        return f"no model generation yet; {self._remedy()}"

    def _remedy(self) -> str:
        if has_layer(self._settings.app, "batch"):
            return "start the batch layer: bin/gemsbok batch --once"
        return "give it one: bin/gemsbok model import FILE"

    # -- the thread ---------------------------------------------------------------------

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._follow()
            except BrokerError as error:
                self.connected = False
                self._wait_after("broker_errors", error)
            except OSError as error:
                # The store's, which may be on other machines too.
                self._generations.refusal = f"the store does not answer: {error}"
                self._wait_after("store_errors", error)
            except Exception as error:
                self._failure = error
                log.exception("the update topic is followed no more")
                return

    def _wait_after(self, what: str, error: Exception) -> None:
        self.counts[what] += 1
        log.warning("update topic: %s; trying again", error)
        self._stop.wait(RETRY_SECONDS)

    def _follow(self) -> None:
        """Read the topic from where we are until told to stop."""
        with self._sources.connect() as broker:
            reader = self._open(broker)
            try:
                while not self._stop.is_set():
                    self.feed(reader.poll(timeout=0.1))
                    self.swap_if_ready()
                    self._stop.wait(GATHER_SECONDS)
            finally:
                reader.close()

    def _open(self, broker: Broker) -> Reader:
        topic = self._settings.update_topic.name
        begin = broker.begin_offsets(topic)
        self.connected = True
        if self._positions:
            return broker.reader(
                topic, {p: max(self._positions.get(p, 0), begin[p]) for p in begin}
            )
        if self._start_offsets is None:
            self._start_offsets = broker.end_offsets(topic)
        newest = self.load_newest()
        self._positions = start_position(broker, topic, newest)
        return broker.reader(topic, self._positions)

    def load_newest(self) -> Generation | None:
        """Load the newest usable generation of the store, if none is held yet."""
        for id_ in reversed(self._sources.store.ids()):
            try:
                generation = self._sources.store.get(id_)
                if generation.manifest.app == self._settings.app:
                    self._generations.load(stored(generation))
                    self.swap_if_ready()
                    return generation
            except (StoreError, MessageError) as error:
                self._generations.refuse(id_, error)
        return None

    # -- records ------------------------------------------------------------------------

    def feed(self, records: Sequence[Record]) -> None:
        """Take records of the update topic; bad ones are counted and logged."""
        for record in records:
            self._positions[record.partition] = record.offset + 1
            try:
                message = Message.from_record(record.key, record.value, record.headers)
                self._take(message)
            except MessageError as error:
                self.counts["bad_records"] += 1
                log.warning("update topic %d:%d: %s", record.partition, record.offset, error)
            except OSError:
                # The store does not answer: the record is read again when it does.
                self._positions[record.partition] = record.offset
                raise
        self._apply_foreign()

    def _take(self, message: Message) -> None:
        if message.key == UP and message.stamp is None:
            self._foreign.append(message.value)
            return
        self._apply_foreign()
        if message.key in (MODEL, MODEL_REF):
            self._generations.take_model(message)
            self.swap_if_ready()
        elif message.key in (UP, PROGRESS):
            self._generations.take_update(message)
        else:
            self.counts["unknown_key"] += 1

    def _apply_foreign(self) -> None:
        """Apply the updates without our headers that have come since the last other message."""
        if self._foreign:
            updates, self._foreign = self._foreign, []
            self._generations.take_foreign(updates)

    def swap_if_ready(self) -> None:
        """Serve the generation that was made aside, once it is ready for that."""
        self._generations.swap_if_ready(self._read_to_start())

    def _read_to_start(self) -> bool:
        """Whether everything that was on the topic when we started has been read."""
        ends = self._start_offsets or {}
        return all(self._positions.get(p, 0) >= end for p, end in ends.items())
