"""The consumer: follows the update topic and keeps the model that requests see.

A new generation is loaded aside and takes its updates there; it replaces the served one, by
one reference, when it holds all of its parts and the speed layer has folded in at least what
the served one already has, or after a timeout, counted.  What cannot be verified is refused,
counted, and the last good generation keeps serving.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from common.broker import Broker, BrokerError, Reader, Record
from common.config import Settings
from common.messages import MODEL, MODEL_REF, PROGRESS, UP, Message, MessageError
from common.model_store import Generation, ModelStore, StoreError
from common.process import has_layer, return_freed_memory
from common.updates import ModelMessage, SequenceLog, reached, resolve, start_position, stored
from serving_layer.api import AppliesMany, ServingModel

log = logging.getLogger(__name__)

RETRY_SECONDS = 1.0
#: Updates that come one by one are gathered so long: to wake this thread for each would cost
#: requests more than what it does then.
GATHER_SECONDS = 0.01
#: Updates applied at once; requests may wait for that.
AT_ONCE = 256


@dataclass
class Slot:
    """One generation in memory, served or being built."""

    generation: int | None
    model: ServingModel
    cut: dict[int, int] = field(default_factory=dict)
    created: float | None = None
    opened: float = 0.0
    log: SequenceLog = field(default_factory=SequenceLog)

    @property
    def offsets(self) -> dict[int, int]:
        """Input offsets up to which the model holds the events."""
        return reached(self.cut, self.log.progress)


@dataclass(frozen=True)
class Sources:
    """Where a consumer gets things from.

    Attributes
    ----------
    connect : callable
        Opens the update topic's broker; called again after a failure.
    store : ModelStore
        The generations.
    new_model : callable
        Makes an empty model of the family.
    monotonic, clock : callable
        Seconds, for the timeout and for the model's age.
    """

    connect: Callable[[], Broker]
    store: ModelStore
    new_model: Callable[[], ServingModel]
    monotonic: Callable[[], float] = time.monotonic
    clock: Callable[[], float] = time.time


class Consumer:
    """Keeps the served model up to date, on a thread of its own.

    Only this thread writes; a request reads :attr:`slot` once and keeps what it got.
    """

    def __init__(self, settings: Settings, sources: Sources) -> None:
        self._settings = settings
        self._sources = sources
        self._next: Slot | None = None
        self._start_offsets: dict[int, int] | None = None
        self._positions: dict[int, int] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="update-consumer", daemon=True)
        self._foreign: list[str] = []
        self._refusal = ""
        self.slot: Slot | None = None
        self.counts: Counter[str] = Counter()
        self.connected = False

    @property
    def model(self) -> ServingModel | None:
        """The model that requests see."""
        return self.slot.model if self.slot else None

    @property
    def generation(self) -> int | None:
        """Id of the generation that is served."""
        return self.slot.generation if self.slot else None

    @property
    def model_age_seconds(self) -> float | None:
        """Seconds since the served generation was built."""
        created = self.slot.created if self.slot else None
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
        building = self._next
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
        if not self.connected:
            return f"no connection to the broker {self._settings.update_broker}"
        if self.slot is None and self._next is None and self._refusal:
            return f"the newest model is refused: {self._refusal}"
        if self.slot is None and self._next is None:
            return f"no model generation yet; {self._remedy()}"
        if self.slot is None:
            return "the first model generation is being loaded"
        return None

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
                self.counts["broker_errors"] += 1
                log.warning("update topic: %s; trying again", error)
                self._stop.wait(RETRY_SECONDS)

    def _follow(self) -> None:
        """Read the topic from where we are until told to stop."""
        with self._sources.connect() as broker:
            reader = self._open(broker)
            self.connected = True
            try:
                while not self._stop.is_set():
                    self.feed(reader.poll(timeout=0.1))
                    self.swap_if_ready()
                    self._stop.wait(GATHER_SECONDS)
            finally:
                reader.close()

    def _open(self, broker: Broker) -> Reader:
        topic = self._settings.update_topic.name
        if self._positions:
            begin = broker.begin_offsets(topic)
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
                    self._build(stored(generation))
                    return generation
            except (StoreError, MessageError) as error:
                self._refuse(id_, error)
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
        self._apply_foreign()

    def _take(self, message: Message) -> None:
        if message.key == UP and message.stamp is None:
            self._foreign.append(message.value)
            return
        self._apply_foreign()
        if message.key in (MODEL, MODEL_REF):
            self._on_model(message)
        elif message.key in (UP, PROGRESS):
            self._on_update(message)
        else:
            self.counts["unknown_key"] += 1

    def _on_model(self, message: Message) -> None:
        generation = message.stamp.generation if message.stamp else None
        held = [slot.generation for slot in self._slots()]
        if generation is not None and any(h is not None and generation <= h for h in held):
            self.counts["old_models"] += 1
            return
        try:
            self._build(resolve(message, self._sources.store))
        except (StoreError, MessageError) as error:
            self._refuse(generation, error)

    def _build(self, model: ModelMessage) -> None:
        """Load a model aside; one that is not ours replaces its like in place, as in Oryx."""
        if model.generation is None:
            for slot in (self._next, self.slot):
                if slot and slot.generation is None:
                    slot.model.load(model)
                    return
        slot = Slot(model.generation, self._sources.new_model(), model.cut)
        slot.opened = self._sources.monotonic()
        slot.created = model.files.manifest.created / 1000 if model.files else self._sources.clock()
        started = time.perf_counter()
        slot.model.load(model)
        return_freed_memory()
        self._next = slot
        self.counts["models"] += 1
        log.info("generation %s loaded in %.2f s", model.generation, time.perf_counter() - started)
        self.swap_if_ready()

    def _refuse(self, generation: int | None, error: Exception) -> None:
        self.counts["refused_models"] += 1
        self._refusal = str(error)
        log.error("generation %s is refused, the last good one serves on: %s", generation, error)

    def _on_update(self, message: Message) -> None:
        if message.stamp is None:
            self.counts["updates_before_a_model"] += 1
            return
        slots = [slot for slot in self._slots() if slot.generation == message.stamp.generation]
        if not slots:
            self.counts["updates_of_other_generations"] += 1
        for slot in slots:
            self._apply(slot, slot.log.accept(message))

    def _apply_foreign(self) -> None:
        """Apply the updates without our headers that have come since the last other message."""
        if not self._foreign:
            return
        updates, self._foreign = self._foreign, []
        if not self._slots():
            self.counts["updates_before_a_model"] += len(updates)
        for slot in self._slots():
            self._apply(slot, updates, foreign=True)

    def _slots(self) -> list[Slot]:
        return [slot for slot in (self.slot, self._next) if slot]

    def _apply(self, slot: Slot, updates: Sequence[str], foreign: bool = False) -> None:
        for start in range(0, len(updates), AT_ONCE):
            some = updates[start : start + AT_ONCE]
            refused = _applied(slot.model, some, foreign)
            self.counts["updates"] += len(some) - len(refused)
            for error in refused:
                self.counts["bad_updates"] += 1
                log.warning("update of generation %s: %s", slot.generation, error)

    # -- the switch ---------------------------------------------------------------------

    def swap_if_ready(self) -> None:
        """Serve the generation that was built aside, once it is complete and has caught up."""
        if self._next is None or not self._complete(self._next):
            return
        if not self._caught_up(self._next):
            waited = self._sources.monotonic() - self._next.opened
            if waited < self._settings.serving.catch_up_timeout_seconds:
                return
            self.counts["catch_up_timeouts"] += 1
            log.warning(
                "generation %s is served after %.0f s although the speed layer has not caught up",
                self._next.generation,
                waited,
            )
        log.info("generation %s is served", self._next.generation)
        self.slot, self._next = self._next, None

    def _complete(self, slot: Slot) -> bool:
        return slot.model.fraction_loaded >= self._settings.serving.min_model_load_fraction

    def _caught_up(self, slot: Slot) -> bool:
        if self.slot is None:
            return self._read_to_start()
        if slot.generation is None:
            return True  # not ours: it says nothing of what it holds
        new = slot.offsets
        return all(new.get(p, 0) >= at for p, at in self.slot.offsets.items())

    def _read_to_start(self) -> bool:
        """Whether everything that was on the topic when we started has been read."""
        ends = self._start_offsets or {}
        return all(self._positions.get(p, 0) >= end for p, end in ends.items())


def _applied(model: ServingModel, updates: Sequence[str], foreign: bool) -> list[MessageError]:
    """Apply updates, and return what is wrong with those that the model refuses."""
    if isinstance(model, AppliesMany):
        return list(model.apply_many(updates, foreign))
    refused = []
    for update in updates:
        try:
            model.apply(update, foreign)
        except MessageError as error:
            refused.append(error)
    return refused
