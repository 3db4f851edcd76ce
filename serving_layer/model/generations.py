"""The generations in memory: the served one, and the next one, which is being built.

A new generation is loaded and updated beside the served one.  It replaces the served one, by
swapping one reference, when its parts are loaded and the speed layer has folded in at least the
events that the served one includes.  The served one is kept up to date meanwhile.  If neither of
the two gets updates for the length of a timeout, the new one is served all the same, counted.  A
model that cannot be verified is refused and counted, and the last good generation keeps serving.
A generation whose updates are partly gone from the topic never replaces a complete one.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from common.broker import Broker, BrokerError, Record
from common.config import Settings
from common.replica.follower import WATCH_SECONDS
from common.replica.positions import Start, records_between, start_of
from common.replica.sequences import SequenceLog
from common.replica.slot import Slot, claims
from common.replica.updates import ModelMessage, resolve, stored
from common.runtime.memory import return_freed_memory
from common.store.generations import ModelStore, StoreError
from common.wire.messages import PROGRESS, Message, MessageError, Progress
from serving_layer.api import ServingModel

log = logging.getLogger(__name__)

#: Number of updates applied in one call, for which requests may have to wait.
UPDATES_PER_CALL = 256


@dataclass
class ServedSlot(Slot[ServingModel]):
    """One generation in memory, served or being built.

    Attributes
    ----------
    created : float or None
        Time at which it was built, in seconds since 1970.
    fed : float
        Time of its last PROGRESS, by the monotonic clock; at first, of the start of loading.
    """

    created: float | None = None
    fed: float = 0.0


@dataclass(frozen=True)
class Sources:
    """Dependencies of a consumer.

    Attributes
    ----------
    connect : callable
        Opens the update topic's broker; called again after a failure.
    store : ModelStore
        The store of generations.
    new_model : callable
        Returns an empty model of the family.
    monotonic, clock : callable
        Return seconds, for the timeout and for the model's age.
    retry_seconds : float
        Pause between a failure of the broker or the store and the next attempt.
    watch_seconds : float
        Interval of the checks that the topic is still the same, and of its oldest offset.
    """

    connect: Callable[[], Broker]
    store: ModelStore
    new_model: Callable[[], ServingModel]
    monotonic: Callable[[], float] = time.monotonic
    clock: Callable[[], float] = time.time
    retry_seconds: float = 1.0
    watch_seconds: float = WATCH_SECONDS


class Generations:
    """Loads models and applies updates in one thread; requests read :attr:`served` once.

    Parameters
    ----------
    settings : Settings
        The complete configuration.
    sources : Sources
        Its dependencies.

    Attributes
    ----------
    served, building : ServedSlot or None
        The generation that requests see, and the one that is being built.
    counts : Counter
        Counters of the update topic's records by outcome.
    refusal : str
        The error of the last refused model.
    """

    def __init__(self, settings: Settings, sources: Sources) -> None:
        self._settings = settings.serving
        self._app = settings.app
        self._topic = settings.update_topic.name
        self._sources = sources
        self.served: ServedSlot | None = None
        self.building: ServedSlot | None = None
        self.counts: Counter[str] = Counter()
        self.refusal = ""
        # How far a generation is that is not in memory: the one before the first that is.
        self._passing: Progress | None = None

    def take_model(
        self,
        message: Message,
        record: Record,
        topic_id: str | None,
        read: Mapping[int, int],
    ) -> Exception | None:
        """Load the model of a message; an old one is skipped, an unusable one refused.

        Parameters
        ----------
        message : Message
            MODEL or MODEL-REF.
        record : Record
            Its record.
        topic_id : str or None
            Identity of the update topic that is followed.
        read : mapping of int to int
            For each partition the next offset to read: earlier records of the generation are
            read aside.

        Returns
        -------
        Exception or None
            Why it was refused.

        Raises
        ------
        OSError, BrokerError
            If the store or the broker does not answer; nothing has changed then.
        """
        stamp = message.stamp
        held = [slot for slot in self._slots() if slot.generation is not None]
        if stamp and any(slot.generation and stamp.generation <= slot.generation for slot in held):
            self.counts["old_models"] += 1
            for slot in held:
                if slot.generation == stamp.generation:
                    slot.log.batch_last = max(slot.log.batch_last, stamp.updates or 0)
            return None
        try:
            model = resolve(message, self._sources.store)
            self.load(model, self._start(model, record, topic_id), read)
        except (BrokerError, OSError):
            raise
        except Exception as error:
            self._count_failure(error)
            self.refuse(stamp.generation if stamp else None, error)
            return error
        return None

    def _start(self, model: ModelMessage, record: Record, topic_id: str | None) -> Start:
        """Return where the messages of a model begin that came by the topic."""
        noted = model.files.position if model.files else None
        if noted is None or noted.topic_id != topic_id:
            return Start({record.partition: record.offset + 1}, model.updates)
        if noted.offsets.get(record.partition, 0) >= record.offset:
            return Start({record.partition: record.offset + 1}, noted.records - 1)
        with self._sources.connect() as broker:
            return start_of(broker, self._topic, model.files)

    def load(
        self,
        model: ModelMessage,
        start: Start,
        read: Mapping[int, int],
        epoch: int | None = None,
    ) -> None:
        """Load a model beside the served one.

        A model without our headers replaces another such model in place, as in Oryx.

        Parameters
        ----------
        model : ModelMessage
            The model.
        start : Start
            Where its messages begin.
        read : mapping of int to int
            The records from there up to these offsets are read aside now, by a reader of their
            own; all later ones are given to :meth:`take_update`.
        epoch : int, optional
            The highest epoch that was claimed before `start`, as far as it is known.

        Raises
        ------
        MessageError, StoreError
            If the model cannot be used.
        OSError, BrokerError
            If the store or the broker does not answer.
        """
        if model.generation is None:
            for slot in (self.building, self.served):
                if slot and slot.generation is None:
                    slot.model.load(model)
                    return
        slot = ServedSlot(
            model.generation, self._sources.new_model(), model.cut, cut_topic_id=model.topic_id
        )
        slot.log = SequenceLog(
            batch_last=max(start.batch_last, model.updates),
            epoch=epoch,
            read_from=start.offset,
            sure=start.sure,
            counts=self.counts,
        )
        slot.fed = self._sources.monotonic()
        slot.created = model.files.manifest.created / 1000 if model.files else self._sources.clock()
        started = time.perf_counter()
        slot.model.load(model)
        self._read_aside(slot, start.offsets, read)
        return_freed_memory()
        self.building = slot
        self.counts["models"] += 1
        log.info("generation %s loaded in %.2f s", model.generation, time.perf_counter() - started)

    def _read_aside(
        self, slot: ServedSlot, start: Mapping[int, int], until: Mapping[int, int]
    ) -> None:
        if all(start.get(p, 0) >= at for p, at in until.items()):
            return
        with self._sources.connect() as broker:
            for record in records_between(broker, self._topic, start, until):
                self._apply(slot, slot.read(record, self._app))

    def read_again(self, read: Mapping[int, int]) -> None:
        """Load the newest generation again if it turned out to hold updates of a stale writer.

        Raises
        ------
        OSError, BrokerError
            If the store or the broker does not answer; it is tried again at the next call.
        """
        slot = self.building or self.served
        if slot is None or slot.generation is None or slot.log.missed_epoch is None:
            return
        log.warning(
            "generation %d holds updates of a stale writer, it is read again", slot.generation
        )
        try:
            files = self._sources.store.get(slot.generation)
            with self._sources.connect() as broker:
                start = start_of(broker, self._topic, files)
            self.load(stored(files), start, read, slot.log.missed_epoch)
        except StoreError as error:
            log.error("generation %d cannot be read again: %s", slot.generation, error)
        slot.log.missed_epoch = None

    def topic_changed(self, begin: int) -> None:
        """Begin the sequences anew, from the topic's oldest offset; models stay as they are."""
        for slot in self._slots():
            slot.log = SequenceLog(read_from=begin, sure=not begin, counts=self.counts)

    def records_lost(self, before: int) -> None:
        """Note that records before an offset were gone before they were read."""
        for slot in self._slots():
            slot.log.lose(before)

    @property
    def incomplete(self) -> str | None:
        """What the served model lacks of its generation's updates; None if nothing."""
        return self.served.incomplete if self.served else None

    @property
    def fed_seconds_ago(self) -> float | None:
        """Seconds since the served generation's last PROGRESS, or since it was loaded."""
        served = self.served
        return None if served is None else max(0.0, self._sources.monotonic() - served.fed)

    def refuse(self, generation: int | None, error: Exception) -> None:
        """Count and log a model that cannot be used."""
        self.counts["refused_models"] += 1
        self.refusal = str(error) or repr(error)
        log.error(
            "generation %s is refused, the last good one serves on: %s", generation, self.refusal
        )

    def take_update(self, message: Message, offset: int) -> None:
        """Pass an ``UP`` or ``PROGRESS`` to the generation that it belongs to."""
        if message.stamp is None:
            self.counts["updates_before_a_model"] += 1
            return
        slots = [slot for slot in self._slots() if slot.generation == message.stamp.generation]
        if not slots:
            self.counts["updates_of_other_generations"] += 1
            if message.key == PROGRESS:
                self._passing = Progress.from_value(message.value)
        for slot in slots:
            closed = slot.log.closed
            self._apply(slot, slot.take(message, offset))
            if slot.log.closed > closed:
                slot.fed = self._sources.monotonic()

    def take_claim(self, message: Message, offset: int) -> None:
        """Take a writer's claim: from here on messages of earlier writers are dropped."""
        if not claims(message, self._app):
            self.counts["claims_of_other_apps"] += 1
            return
        self.counts["claims"] += 1
        for slot in self._slots():
            slot.take(message, offset)

    def take_foreign(self, updates: Sequence[str]) -> None:
        """Apply updates without our headers to all generations in memory."""
        if not self._slots():
            self.counts["updates_before_a_model"] += len(updates)
        for slot in self._slots():
            self._apply(slot, updates, foreign=True)

    def swap_if_ready(self, read_to_start: bool) -> None:
        """Serve the generation being built, once it is complete and has caught up.

        Parameters
        ----------
        read_to_start : bool
            Whether the update topic has been read up to its end at the start of this process; the
            first generation waits for this.
        """
        least = self._settings.min_model_load_fraction
        if self.building is None or self.building.model.fraction_loaded < least:
            return
        whole = self.served is not None and self.served.log.complete
        if whole and not self.building.log.complete:
            return
        if self.served is None and not read_to_start:
            return
        if not self._caught_up(self.building):
            if not self._timed_out():
                return
            self.counts["catch_up_timeouts"] += 1
            log.warning(
                "generation %s is served although it lacks events that the one before has: the "
                "speed layer has sent nothing for %.0f s",
                self.building.generation,
                self._settings.catch_up_timeout_seconds,
            )
        log.info("generation %s is served", self.building.generation)
        self.served, self.building = self.building, None

    def _timed_out(self) -> bool:
        """Whether no generation in memory has been fed for too long."""
        last = max(slot.fed for slot in self._slots())
        return self._sources.monotonic() - last >= self._settings.catch_up_timeout_seconds

    def _caught_up(self, slot: ServedSlot) -> bool:
        """Whether a generation holds the events that the one before it holds.

        That is the served one; for the first generation, the one that others still serve.
        """
        before = self.served or self._passing
        if before is None or slot.generation is None:
            return True  # A model without our headers has no offsets.
        if slot.topic_id and before.topic_id and slot.topic_id != before.topic_id:
            return True  # Offsets of different topics cannot be compared.
        offsets = slot.offsets
        return all(offsets.get(p, 0) >= offset for p, offset in before.offsets.items())

    def _slots(self) -> list[ServedSlot]:
        return [slot for slot in (self.served, self.building) if slot]

    def _apply(self, slot: ServedSlot, updates: Sequence[str], foreign: bool = False) -> None:
        for start in range(0, len(updates), UPDATES_PER_CALL):
            some = updates[start : start + UPDATES_PER_CALL]
            refused = self._apply_some(slot, some, foreign)
            self.counts["updates"] += len(some) - len(refused)
            for error in refused:
                self.counts["bad_updates"] += 1
                log.warning("update of generation %s: %s", slot.generation, error)

    def _apply_some(
        self, slot: ServedSlot, updates: Sequence[str], foreign: bool
    ) -> Sequence[Exception]:
        """Apply updates; if the family fails, one by one, so that only the bad one is lost.

        An update has the same effect if it is applied twice.  One without our headers may not:
        of these all are given up.
        """
        model = slot.model
        try:
            return model.apply_many_foreign(updates) if foreign else model.apply_many(updates)
        except Exception as error:
            if foreign:
                self._count_failure(error)
                return [error] * len(updates)
        refused: list[Exception] = []
        for update in updates:
            try:
                model.apply(update)
            except Exception as error:
                self._count_failure(error)
                refused.append(error)
        return refused

    def _count_failure(self, error: Exception) -> None:
        """Count an error that is a fault of the family or a library, not a refusal."""
        if isinstance(error, (MessageError, StoreError)):
            return
        kind = type(error).__name__
        if not self.counts[f"failed_{kind}"]:
            log.error("the first record that fails with %s", kind, exc_info=error)
        self.counts[f"failed_{kind}"] += 1
