"""The generations in memory: the one that requests see, and the next one, which is made aside.

A new generation is loaded aside and takes its updates there; it replaces the served one, by
one reference, when it holds all of its parts and the speed layer has folded in at least what
the served one already has, or after a timeout, counted.  What cannot be verified is refused,
counted, and the last good generation keeps serving.
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

#: Updates applied at once; requests may wait for that.
AT_ONCE = 256


@dataclass
class ServedSlot(Slot[ServingModel]):
    """One generation in memory, served or being built.

    Attributes
    ----------
    created : float or None
        Seconds since 1970 at which it was built.
    opened : float
        When it began to be loaded, by the monotonic clock.
    """

    created: float | None = None
    opened: float = 0.0


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
    retry_seconds : float
        Between a failure of the broker or the store and the next try.
    """

    connect: Callable[[], Broker]
    store: ModelStore
    new_model: Callable[[], ServingModel]
    monotonic: Callable[[], float] = time.monotonic
    clock: Callable[[], float] = time.time
    retry_seconds: float = 1.0


class Generations:
    """Takes models and updates, from one thread; requests read :attr:`served` once.

    Parameters
    ----------
    settings : Settings
        The whole configuration.
    sources : Sources
        Makes the models.

    Attributes
    ----------
    served, building : ServedSlot or None
        The generation that requests see, and the one that is being made.
    counts : Counter
        What became of the update topic's records.
    refusal : str
        What was wrong with the last model that was refused.
    """

    def __init__(self, settings: Settings, sources: Sources) -> None:
        self._settings = settings.serving
        self._sources = sources
        self.served: ServedSlot | None = None
        self.building: ServedSlot | None = None
        self.counts: Counter[str] = Counter()
        self.refusal = ""

    def take_model(self, message: Message) -> None:
        """Load the model of a message; an old one is passed over, a bad one refused."""
        generation = message.stamp.generation if message.stamp else None
        held = [slot.generation for slot in self._slots()]
        if generation is not None and any(h is not None and generation <= h for h in held):
            self.counts["old_models"] += 1
            return
        try:
            self.load(resolve(message, self._sources.store))
        except (StoreError, MessageError) as error:
            self.refuse(generation, error)

    def load(self, model: ModelMessage) -> None:
        """Load a model aside; one that is not ours replaces its like in place, as in Oryx.

        Raises
        ------
        MessageError, StoreError
            If it cannot be used.
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
        """Count a model that cannot be used."""
        self.counts["refused_models"] += 1
        self.refusal = str(error)
        log.error("generation %s is refused, the last good one serves on: %s", generation, error)

    def take_update(self, message: Message) -> None:
        """Give an update, or what closes several, to the generation that it is for."""
        if message.stamp is None:
            self.counts["updates_before_a_model"] += 1
            return
        slots = [slot for slot in self._slots() if slot.generation == message.stamp.generation]
        if not slots:
            self.counts["updates_of_other_generations"] += 1
        for slot in slots:
            self._apply(slot, slot.model.apply_many, slot.log.accept(message))

    def take_foreign(self, updates: Sequence[str]) -> None:
        """Apply updates that are not ours: they are for whatever generation there is."""
        if not self._slots():
            self.counts["updates_before_a_model"] += len(updates)
        for slot in self._slots():
            self._apply(slot, slot.model.apply_many_foreign, updates)

    def swap_if_ready(self, read_to_start: bool) -> None:
        """Serve the generation that was made aside, once it is complete and has caught up.

        Parameters
        ----------
        read_to_start : bool
            Whether all has been read that was on the update topic when this process started: the
            first generation waits for that.
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
            return True  # not ours: it says nothing of what it holds
        new = slot.offsets
        return all(new.get(p, 0) >= at for p, at in self.served.offsets.items())

    def _slots(self) -> list[ServedSlot]:
        return [slot for slot in (self.served, self.building) if slot]

    def _apply(
        self,
        slot: ServedSlot,
        apply_many: Callable[[Sequence[str]], Sequence[MessageError]],
        updates: Sequence[str],
    ) -> None:
        for start in range(0, len(updates), AT_ONCE):
            some = updates[start : start + AT_ONCE]
            refused = apply_many(some)
            self.counts["updates"] += len(some) - len(refused)
            for error in refused:
                self.counts["bad_updates"] += 1
                log.warning("update of generation %s: %s", slot.generation, error)
