"""A view: the speed layer's model of one generation, and how far it has come."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import pyarrow as pa
import pyarrow.compute as pc

from common.broker import Broker, Record
from common.broker.api import read_all
from common.replica.positions import Start, start_of
from common.replica.sequences import SequenceLog
from common.replica.slot import Slot
from common.replica.updates import ModelMessage
from common.wire.messages import PROGRESS, UP, Message, MessageError, Progress, Stamp
from speed_layer.api import Events, SpeedModel

log = logging.getLogger(__name__)


class FoldError(RuntimeError):
    """The family has failed over events; its model may be half moved on, and nothing was sent."""


@dataclass(frozen=True)
class UpdateLog:
    """The update topic as a view is opened from it.

    Attributes
    ----------
    broker : Broker
        Of the update topic.
    topic : str
        The update topic.
    app : str
        The family, whose writers' claims count.
    epoch : int or None
        Our own; None for what no reader checks: a model that is not ours.
    counts : Counter of str
        What could not be restored, or is missing.
    """

    broker: Broker
    topic: str
    app: str
    epoch: int | None = None
    counts: Counter[str] = field(default_factory=Counter)


@dataclass
class View(Slot[SpeedModel]):
    """One generation as the speed layer holds it.

    Attributes
    ----------
    source : ModelMessage
        The generation.
    epoch : int or None
        The epoch that its messages are stamped with.
    since : int
        The first sequence that its state needs, beside the bare generation.
    stands_on : int
        Offset of the update topic at which that message lies, or a little before it: once it is
        gone the view has to be opened anew.
    begins : dict of int to int
        For each input partition the offset from which micro-batches are folded in; what they
        hold before it, the view has already.
    restated : bool
        Whether it was folded in anew because messages were gone: readers are to be told.
    retired : bool
        Set when it is fed no more; micro-batches that still come are left alone.
    """

    source: ModelMessage = field(kw_only=True)
    epoch: int | None = None
    since: int = 1
    stands_on: int = 0
    begins: dict[int, int] = field(default_factory=dict)
    restated: bool = False
    retired: bool = False

    def restore(self, records: Iterable[Record], origin: UpdateLog) -> int:
        """Apply what was published for this generation before; returns how many updates.

        An update over which the family fails is left out, counted: it is ours, and was good
        when it was made.
        """
        count = 0
        for record in records:
            for update in self.read(record, origin.app):
                try:
                    self.model.apply(update)
                    count += 1
                except Exception as error:
                    origin.counts["updates_not_restored"] += 1
                    known = isinstance(error, MessageError)
                    where = (record.partition, record.offset)
                    log.warning("update topic %d:%d: %s", *where, error, exc_info=not known)
        return count

    def fold(self, events: pa.Table, good: Events) -> Iterator[Message]:
        """Fold a micro-batch in and yield the messages that publish it.

        Parameters
        ----------
        events : Table
            The whole micro-batch: ``partition, offset, timestamp, value``.
        good : Events
            Those of it whose lines can be read.

        Raises
        ------
        FoldError
            Before the first message, if the family fails over the events.
        """
        updates: Sequence[str] = ()
        if len(good):
            try:
                updates = self.model.build_updates(good)
            except Exception as error:
                message = f"{type(error).__name__}: {error}"
                raise FoldError(message) from error
        if self.generation is None:
            yield from (Message(UP, update) for update in updates)
            return
        yield from self._stamped(updates, self._progress(events), _newest(events))

    def statement(self) -> Message:
        """Return a PROGRESS without updates: how far the view is, and what it stands on."""
        (message,) = self._stamped((), replace(self._here, event_time=self.log.progress.event_time))
        return message

    def read_from(self, topic_id: str, offsets: dict[int, int]) -> None:
        """Go on from other offsets of the input topic than the state has reached.

        Parameters
        ----------
        topic_id : str
            Identity of the input topic.
        offsets : dict of int to int
            For each of its partitions the next offset to fold in.
        """
        self.log.progress = replace(self.log.progress, offsets=offsets, topic_id=topic_id)

    @property
    def _here(self) -> Progress:
        return Progress(self.offsets, since=self.since, topic_id=self.topic_id)

    def _progress(self, events: pa.Table) -> Progress:
        """Return the progress after a micro-batch."""
        ends = events.group_by("partition").aggregate([("offset", "max")]).to_pylist()
        after = {row["partition"]: row["offset_max"] + 1 for row in ends}
        time = pc.max(events["timestamp"]).as_py()
        return replace(self._here, offsets={**self.offsets, **after}, event_time=time)

    def _stamped(
        self, updates: Sequence[str], progress: Progress, newest: str | None = None
    ) -> Iterator[Message]:
        assert self.generation is not None
        first = self.log.closed + 1
        for sequence, update in enumerate(updates, first):
            stamp = Stamp(
                self.generation,
                sequence,
                input=newest,
                event_time=progress.event_time,
                epoch=self.epoch,
            )
            yield Message(UP, update, stamp)
        last = first + len(updates)
        stamp = Stamp(self.generation, last, epoch=self.epoch)
        yield Message(PROGRESS, progress.to_value(), stamp)
        self.log.closed, self.log.progress = last, progress


def open_view(
    source: ModelMessage,
    new_model: Callable[[], SpeedModel],
    origin: UpdateLog,
    give_up: Callable[[], bool] = lambda: False,
) -> View | None:
    """Load a generation and bring it to where the update topic says that it was.

    It takes from the topic what every reader takes.  Where the topic's retention has passed
    over some of its messages, the view stays at the generation's cut to fold everything in
    again, with sequences above all that were used: each lies at an offset of its own, so none
    is above the topic's end.

    Parameters
    ----------
    source : ModelMessage
        The generation.
    new_model : callable
        Makes the family's model.
    origin : UpdateLog
        The update topic; it has been read up to our own claim.
    give_up : callable
        Asked while updates of the batch layer are still to come, which they never do if it was
        killed between them.

    Returns
    -------
    View or None
        None where it was given up.

    Raises
    ------
    BrokerError, OSError
        If the topic or the store cannot be read.
    MessageError, StoreError, or what else the family raises
        If the model cannot be used.
    """
    if source.generation is None:
        return _loaded(source, new_model, origin, SequenceLog())
    start = start_of(origin.broker, origin.topic, source.files)
    end = origin.broker.end_offsets(origin.topic)
    known: int | None = None
    while True:
        log_ = SequenceLog(
            batch_last=max(start.batch_last, source.updates if start.whole else 0),
            epoch=known,
            read_from=start.offset,
            sure=start.sure,
            counts=origin.counts,
        )
        view = _loaded(source, new_model, origin, log_)
        count = _restore(view, origin, start, end, give_up)
        if count is None:
            return None
        if log_.missed_epoch is None:
            break
        known = log_.missed_epoch
    view.since = view.log.progress.since
    last = max(end.values())
    view.stands_on = last if view.log.run_at is None else view.log.run_at
    if not view.log.whole or not (start.whole or view.log.closed):
        many = view.log.gone or "perhaps some"
        log.warning(
            "generation %s: %s updates are gone from the update topic, everything since its cut "
            "is folded in anew",
            view.generation,
            many,
        )
        origin.counts["refolds"] += 1
        used = max(view.log.closed, last)
        view = _loaded(source, new_model, origin, SequenceLog(used, counts=origin.counts))
        view.since, view.stands_on, view.restated = used + 1, last, True
        count = 0
    log.info(
        "generation %s: %d updates restored, folding in from %s",
        view.generation,
        count,
        view.offsets,
    )
    return view


def _loaded(
    source: ModelMessage,
    new_model: Callable[[], SpeedModel],
    origin: UpdateLog,
    log_: SequenceLog,
) -> View:
    view = View(
        source.generation,
        new_model(),
        source.cut,
        log_,
        source.topic_id,
        source=source,
        epoch=origin.epoch,
    )
    view.model.load(source)
    return view


def _restore(
    view: View,
    origin: UpdateLog,
    start: Start,
    end: dict[int, int],
    give_up: Callable[[], bool],
) -> int | None:
    """Read what is on the topic; then on until all that the batch layer sends has come.

    Returns how many updates were applied; None where it was given up.
    """
    reader = origin.broker.reader(origin.topic, start.offsets)
    try:
        count = view.restore(read_all(reader, end), origin)
        # What the batch layer has sent long ago, or on another topic, does not come any more.
        while start.whole and view.log.closed < view.source.updates:
            if give_up():
                return None
            count += view.restore(reader.poll(timeout=0.5), origin)
        return count
    finally:
        reader.close()


def _newest(events: pa.Table) -> str:
    """``partition:offset`` of the newest event."""
    row = pc.index(events["timestamp"], pc.max(events["timestamp"])).as_py()
    return f"{events['partition'][row]}:{events['offset'][row]}"
