"""Follows the update topic and passes its messages to the generations in memory.

:mod:`serving_layer.model.generations` loads and swaps them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack

from common.broker import Broker, Record
from common.config import Settings
from common.replica.follower import TopicFollower
from common.replica.positions import Start
from common.replica.updates import stored
from common.runtime.families import has_layer
from common.store.generations import Generation
from common.wire.messages import MODEL, MODEL_REF, PROGRESS, UP, WRITER, Message
from serving_layer.api import ServingModel
from serving_layer.model.generations import Generations, Sources

#: Pause after each poll, which collects single updates: waking the thread for each of them
#: would slow requests down more than applying it.
GATHER_SECONDS = 0.01


class Consumer(TopicFollower):
    """Keeps the served model up to date, in a thread of its own.

    Only this thread writes; a request reads :attr:`model` once and uses that model throughout.

    Parameters
    ----------
    settings : Settings
        The complete configuration.
    sources : Sources
        Its dependencies.
    on_end : callable
        Called in this thread when it has ended for good.
    """

    def __init__(
        self, settings: Settings, sources: Sources, on_end: Callable[[], None] = lambda: None
    ) -> None:
        self._on_end = on_end
        self._settings = settings
        self._sources = sources
        self._generations = Generations(settings, sources)
        super().__init__(
            settings.app,
            settings.update_topic.name,
            sources.store,
            sources.connect,
            self._generations.counts,
            sources.retry_seconds,
            sources.watch_seconds,
        )
        self._start_offsets: dict[int, int] | None = None
        self._foreign: list[str] = []

    @property
    def model(self) -> ServingModel | None:
        """The model that requests see."""
        served = self._generations.served
        return served.model if served else None

    @property
    def generation(self) -> int | None:
        """Id of the served generation."""
        served = self._generations.served
        return served.generation if served else None

    @property
    def model_age_seconds(self) -> float | None:
        """Seconds since the served generation was built."""
        served = self._generations.served
        created = served.created if served else None
        return None if created is None else max(0.0, self._sources.clock() - created)

    def status(self) -> dict[str, object]:
        """Return what is served, what is being built, and what is missing.

        ``missing`` is why there is no model, ``unready`` why ``/ready`` has to say no although
        there may be one, ``ended`` why the process cannot go on, ``trouble`` what does not
        answer just now.
        """
        building = self._generations.building
        model = self.model
        return {
            "connected": self.connected,
            "generation": self.generation,
            "fraction_loaded": model.fraction_loaded if model else 0.0,
            "building": building.generation if building else None,
            "building_fraction_loaded": building.model.fraction_loaded if building else None,
            "building_incomplete": building.incomplete if building else None,
            "incomplete": self._generations.incomplete,
            "fed_seconds_ago": self._generations.fed_seconds_ago,
            "refused": {str(id_): reason for id_, reason in self.good.refused.items()},
            "counts": dict(self.counts),
            "missing": self._missing(),
            "unready": self._ended() or self._generations.incomplete,
            "ended": self._ended(),
            "trouble": self.trouble,
        }

    def _ended(self) -> str | None:
        if self.failure is None:
            return None
        return f"the model is kept up to date no more, restart this process: {self.failure}"

    def _missing(self) -> str | None:
        if self.failure is not None:
            return self._ended()
        if not self.connected:
            why = f": {self.trouble}" if self.trouble else ""
            return f"no connection to the broker {self._settings.update_broker}{why}"
        # Read in this order: the generation being built becomes the served one.
        building, served = self._generations.building, self._generations.served
        if served is not None:
            return None
        if building is not None:
            return "the first model generation is being loaded"
        if self.trouble:
            return self.trouble
        if self._generations.refusal:
            return f"the newest model is refused: {self._generations.refusal}"
        if has_layer(self._settings.app, "batch"):
            return "no model generation yet; start the batch layer: bin/gemsbok batch --once"
        return "no model generation yet; give it one: bin/gemsbok model import FILE"

    # -- the thread ---------------------------------------------------------------------

    def opened(self, broker: Broker, held: ExitStack) -> None:
        """Keep the topic's end offsets: the first generation is served once they are reached."""
        if self._start_offsets is None:
            self._start_offsets = broker.end_offsets(self._settings.update_topic.name)

    def ended(self, error: Exception) -> None:
        """Keep and log the error that ended the thread, and tell the process."""
        super().ended(error)
        self._on_end()

    def topic_changed(self, begin: int) -> None:
        """Begin the sequences anew; what is served stays."""
        self._start_offsets = None
        self._generations.topic_changed(begin)

    def records_lost(self, before: int) -> None:
        """Note that updates may be missing."""
        self._generations.records_lost(before)

    def take_stored(self, generation: Generation, start: Start) -> None:
        """Load a generation of the store."""
        self._generations.load(stored(generation), start, start.offsets)

    def refuse_stored(self, generation: int, error: Exception) -> None:
        """Count and log a stored generation that cannot be used."""
        self.good.refuse(generation, error)
        self._generations.refuse(generation, error)

    def take(self, message: Message, record: Record) -> None:
        """Handle one message; raises MessageError if it cannot be used."""
        if message.key == UP and message.stamp is None:
            self._foreign.append(message.value)
            return
        self._apply_foreign()
        if message.key in (MODEL, MODEL_REF):
            self._take_model(message, record)
        elif message.key in (UP, PROGRESS):
            self._generations.take_update(message, record.offset)
        elif message.key == WRITER:
            self._generations.take_claim(message, record.offset)
        elif message.stamp is not None:
            self.counts["unknown_stamped_keys"] += 1
        else:
            self.counts["unknown_key"] += 1

    def _take_model(self, message: Message, record: Record) -> None:
        error = self._generations.take_model(message, record, self.topic_id, self.positions)
        if message.stamp is not None:
            if error is None:
                self.good.accept(message.stamp.generation)
            else:
                self.good.refuse(message.stamp.generation, error)
        self.swap_if_ready()

    def feed(self, records: Sequence[Record]) -> None:
        """Handle records of the update topic; bad ones are counted and logged."""
        super().feed(records)
        self._apply_foreign()

    def after_poll(self) -> None:
        """Swap the generations if the new one is ready, then pause."""
        self._generations.read_again(self.positions)
        self.swap_if_ready()
        self._stop.wait(GATHER_SECONDS)

    def _apply_foreign(self) -> None:
        """Apply the updates without our headers received since the last other message."""
        if self._foreign:
            updates, self._foreign = self._foreign, []
            self._generations.take_foreign(updates)

    def swap_if_ready(self) -> None:
        """Serve the generation that was made aside, once it is ready for that."""
        ends = self._start_offsets or {}
        read_to_start = all(self.positions.get(p, 0) >= end for p, end in ends.items())
        self._generations.swap_if_ready(read_to_start)
