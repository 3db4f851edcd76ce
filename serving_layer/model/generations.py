"""The generations in memory: the served one, and the next one, which is being built.

A new generation is loaded and updated beside the served one.  It replaces the served one, by
swapping one reference, when its parts are loaded and the speed layer has folded in at least the
events that the served one includes, or after a timeout, which is counted.  A model that cannot
be verified is refused and counted, and the last good generation keeps serving.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from common.broker import Broker
from common.config import Settings
from common.replica.slot import Slot
from common.replica.updates import ModelMessage, resolve
from common.runtime.memory import return_freed_memory
from common.store.generations import ModelStore, StoreError
from common.wire.messages import Message, MessageError
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
    opened : float
        Time at which loading began, by the monotonic clock.
    """

    created: float | None = None
    opened: float = 0.0


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
    """

    connect: Callable[[], Broker]
    store: ModelStore
    new_model: Callable[[], ServingModel]
    monotonic: Callable[[], float] = time.monotonic
    clock: Callable[[], float] = time.time
    retry_seconds: float = 1.0


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
        self._sources = sources
        self.served: ServedSlot | None = None
        self.building: ServedSlot | None = None
        self.counts: Counter[str] = Counter()
        self.refusal = ""

    def take_model(self, message: Message) -> None:
        """Load the model of a message; an old one is skipped, an unusable one refused."""
        generation = message.stamp.generation if message.stamp else None
        known = [slot.generation for slot in self._slots()]
        if generation is not None and any(id_ is not None and generation <= id_ for id_ in known):
            self.counts["old_models"] += 1
            return
        try:
            self.load(resolve(message, self._sources.store))
        except (StoreError, MessageError) as error:
            self.refuse(generation, error)

    def load(self, model: ModelMessage) -> None:
        """Load a model beside the served one.

        A model without our headers replaces another such model in place, as in Oryx.

        Raises
        ------
        MessageError, StoreError
            If the model cannot be used.
        """
        if model.generation is None:
            for slot in (self.building, self.served):
                if slot and slot.generation is None:
                    slot.model.load(model)
                    return
        slot = ServedSlot(model.generation, self._sources.new_model(), model.cut)
        slot.opened = self._sources.monotonic()
        slot.created = model.files.manifest.created / 1000 if model.files else self._sources.clock()
        started = time.perf_counter()
        slot.model.load(model)
        return_freed_memory()
        self.building = slot
        self.counts["models"] += 1
        log.info("generation %s loaded in %.2f s", model.generation, time.perf_counter() - started)

    def refuse(self, generation: int | None, error: Exception) -> None:
        """Count and log a model that cannot be used."""
        self.counts["refused_models"] += 1
        self.refusal = str(error)
        log.error("generation %s is refused, the last good one serves on: %s", generation, error)

    def take_update(self, message: Message) -> None:
        """Pass an ``UP`` or ``PROGRESS`` to the generation that it belongs to."""
        if message.stamp is None:
            self.counts["updates_before_a_model"] += 1
            return
        slots = [slot for slot in self._slots() if slot.generation == message.stamp.generation]
        if not slots:
            self.counts["updates_of_other_generations"] += 1
        for slot in slots:
            self._apply(slot, slot.model.apply_many, slot.log.accept(message))

    def take_foreign(self, updates: Sequence[str]) -> None:
        """Apply updates without our headers to all generations in memory."""
        if not self._slots():
            self.counts["updates_before_a_model"] += len(updates)
        for slot in self._slots():
            self._apply(slot, slot.model.apply_many_foreign, updates)

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
        if not self._caught_up(self.building, read_to_start):
            waited = self._sources.monotonic() - self.building.opened
            if waited < self._settings.catch_up_timeout_seconds:
                return
            self.counts["catch_up_timeouts"] += 1
            log.warning(
                "generation %s is served after %.0f s although the speed layer has not caught up",
                self.building.generation,
                waited,
            )
        log.info("generation %s is served", self.building.generation)
        self.served, self.building = self.building, None

    def _caught_up(self, slot: ServedSlot, read_to_start: bool) -> bool:
        if self.served is None:
            return read_to_start
        if slot.generation is None:
            return True  # A model without our headers has no offsets.
        offsets = slot.offsets
        return all(offsets.get(p, 0) >= offset for p, offset in self.served.offsets.items())

    def _slots(self) -> list[ServedSlot]:
        return [slot for slot in (self.served, self.building) if slot]

    def _apply(
        self,
        slot: ServedSlot,
        apply_many: Callable[[Sequence[str]], Sequence[MessageError]],
        updates: Sequence[str],
    ) -> None:
        for start in range(0, len(updates), UPDATES_PER_CALL):
            some = updates[start : start + UPDATES_PER_CALL]
            refused = apply_many(some)
            self.counts["updates"] += len(some) - len(refused)
            for error in refused:
                self.counts["bad_updates"] += 1
                log.warning("update of generation %s: %s", slot.generation, error)
