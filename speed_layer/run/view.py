"""A view: the speed layer's model of one generation, and how far it has come."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from common.broker import Broker, Record
from common.broker.api import read_all
from common.replica.slot import Slot
from common.replica.updates import ModelMessage, SequenceLog, start_position
from common.wire.messages import PROGRESS, UP, Message, MessageError, Progress, Stamp
from speed_layer.api import Events, SpeedModel

log = logging.getLogger(__name__)


@dataclass
class View(Slot[SpeedModel]):
    """One generation as the speed layer holds it.

    Attributes
    ----------
    retired : bool
        Set when another view takes over; micro-batches that still come are left alone.
    """

    source: ModelMessage = field(kw_only=True)
    retired: bool = False

    def restore(self, records: Iterable[Record]) -> int:
        """Apply what was published for this generation before; returns how many updates."""
        count = 0
        for record in records:
            for update in self._ready(record):
                self.model.apply(update)
                count += 1
        return count

    def _ready(self, record: Record) -> list[str]:
        try:
            message = Message.from_record(record.key, record.value, record.headers)
            if message.stamp is None or message.stamp.generation != self.generation:
                return []
            return self.log.accept(message) if message.key in (UP, PROGRESS) else []
        except MessageError as error:
            log.warning("update topic %d:%d: %s", record.partition, record.offset, error)
            return []

    def fold(self, events: pa.Table, good: Events) -> Iterator[Message]:
        """Fold a micro-batch in and yield the messages that publish it.

        Parameters
        ----------
        events : Table
            The whole micro-batch: ``partition, offset, timestamp, value``.
        good : Events
            Those of it whose lines can be read.
        """
        updates = self.model.build_updates(good) if len(good) else ()
        if self.generation is None:
            yield from (Message(UP, update) for update in updates)
            return
        yield from self._stamped(updates, _progress(self.offsets, events), _newest(events))

    def _stamped(
        self, updates: Sequence[str], progress: Progress, newest: str
    ) -> Iterator[Message]:
        assert self.generation is not None
        first = self.log.closed + 1
        for sequence, update in enumerate(updates, first):
            stamp = Stamp(self.generation, sequence, input=newest, event_time=progress.event_time)
            yield Message(UP, update, stamp)
        last = first + len(updates)
        yield Message(PROGRESS, progress.to_value(), Stamp(self.generation, last))
        self.log.closed, self.log.progress = last, progress


def open_view(
    source: ModelMessage,
    new_model: Callable[[], SpeedModel],
    broker: Broker,
    topic: str,
    give_up: Callable[[], bool] = lambda: False,
) -> View | None:
    """Load a generation and bring it to where the update topic says that it was.

    Where the topic's retention has passed over some of its messages, the view stays at the
    generation's cut to fold everything in again, with sequences above all that were used.

    Parameters
    ----------
    source : ModelMessage
        The generation.
    new_model : callable
        Makes the family's model.
    broker : Broker
        Of the update topic.
    topic : str
        The update topic.
    give_up : callable
        Asked while updates of the batch layer are still to come, which they never do if it was
        killed between them.

    Returns
    -------
    View or None
        None where it was given up.

    Raises
    ------
    BrokerError, MessageError, StoreError
        If the topic cannot be read, or the model cannot be used.
    """
    view = _loaded(source, new_model)
    if source.generation is None:
        return view
    count = _restore(view, broker, topic, give_up)
    if count is None:
        return None
    if view.log.gaps:
        log.warning("generation %s: %d messages are gone", view.generation, view.log.gaps)
        view = _loaded(source, new_model, SequenceLog(closed=view.log.closed))
        count = 0
    log.info(
        "generation %s: %d updates restored, folding in from %s",
        view.generation,
        count,
        view.offsets,
    )
    return view


def _loaded(
    source: ModelMessage, new_model: Callable[[], SpeedModel], log_: SequenceLog | None = None
) -> View:
    view = View(source.generation, new_model(), source.cut, log_ or SequenceLog(), source=source)
    view.model.load(source)
    return view


def _restore(view: View, broker: Broker, topic: str, give_up: Callable[[], bool]) -> int | None:
    """Read what is on the topic; then on until all that the batch layer sends has come.

    Returns how many updates were applied; None where it was given up.
    """
    start = start_position(broker, topic, view.source.files)
    reader = broker.reader(topic, start)
    try:
        count = view.restore(read_all(reader, broker.end_offsets(topic)))
        while view.log.closed < view.source.updates:
            if give_up():
                return None
            count += view.restore(reader.poll(timeout=0.5))
        return count
    finally:
        reader.close()


def _progress(offsets: dict[int, int], events: pa.Table) -> Progress:
    """Offsets after a micro-batch."""
    ends = events.group_by("partition").aggregate([("offset", "max")]).to_pylist()
    after = {row["partition"]: row["offset_max"] + 1 for row in ends}
    return Progress({**offsets, **after}, pc.max(events["timestamp"]).as_py())


def _newest(events: pa.Table) -> str:
    """``partition:offset`` of the newest event."""
    row = pc.index(events["timestamp"], pc.max(events["timestamp"])).as_py()
    return f"{events['partition'][row]}:{events['offset'][row]}"
