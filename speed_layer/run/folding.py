"""Folds micro-batches into views and publishes what that changes."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from common.base.errors import CodedError
from common.broker import Producer
from common.config import Settings
from common.replica.updates import ModelMessage
from common.wire.dead_letters import ReadLines
from common.wire.messages import Message
from speed_layer.api import Events
from speed_layer.run.follower import Follower
from speed_layer.run.poison import PoisonEvents
from speed_layer.run.view import FoldError, View

log = logging.getLogger(__name__)


@dataclass
class Totals:
    """What the layer has done since its start.

    Attributes
    ----------
    events, bad_lines, updates : int
        Events folded in, lines that could not be read, updates sent.  An event that several
        generations take from one micro-batch counts once.
    micro_batches : int
        Micro-batches of the stream.
    seconds : float
        Time spent on these.
    counts : Counter of str
        What else has happened, by name.
    """

    events: int = 0
    bad_lines: int = 0
    updates: int = 0
    micro_batches: int = 0
    seconds: float = 0.0
    counts: Counter[str] = field(default_factory=Counter)


class Folding:
    """Reads events once and folds them into each view that is to have them.

    Parameters
    ----------
    settings : Settings
        The configuration.
    read : callable
        The family's :meth:`common.api.InputLines.read`.
    follower : Follower
        Hears what others send on the update topic, and whether this layer may write.
    """

    def __init__(self, settings: Settings, read: ReadLines, follower: Follower) -> None:
        self._settings = settings
        self._read = read
        self._follower = follower
        self._poison = PoisonEvents(follower.counts)
        self._counting = threading.Lock()
        self.totals = Totals(counts=follower.counts)

    def may_write(self, view: View) -> bool:
        """Whether readers would accept the view's messages."""
        follower = self._follower
        return follower.failure is None and view.epoch == follower.epoch

    def forget_poison(self) -> None:
        """Begin anew: the input topic is another one."""
        self._poison.forget()

    def publish(self, views: Sequence[View], events: pa.Table, producer: Producer) -> None:
        """Fold events into views that may write, and publish what that changes.

        A view over which the family fails is retired: it is to be opened anew.

        Parameters
        ----------
        views : sequence of View
            Each takes the events from :attr:`View.begins` on.
        events : Table
            Columns ``partition, offset, timestamp (ms), value``.
        producer : Producer
            Of the update topic.

        Raises
        ------
        BrokerError
            If what was sent is not acknowledged.
        """
        self.take_foreign(views)
        for part in self._poison.parts(events):
            # The lines that cannot be read are set aside by the batch layer.
            good = self._good(part)
            sent = sum(self._fold(view, part, good, producer) for view in views)
            if sent:
                producer.flush(self._settings.broker.delivery_timeout_seconds)
            with self._counting:
                self.totals.events += part.num_rows
                self.totals.bad_lines += part.num_rows - len(good)
                self.totals.updates += sent

    def send(self, messages: Iterable[Message], producer: Producer) -> None:
        """Send messages and wait until they are acknowledged."""
        self._queue(messages, producer)
        producer.flush(self._settings.broker.delivery_timeout_seconds)

    def take_foreign(self, views: Sequence[View]) -> None:
        """Apply what others than Gemsbok have sent since the last call."""
        for found, record in self._follower.take_foreign():
            try:
                for view in views:
                    if isinstance(found, ModelMessage):
                        view.model.load(found)
                    else:
                        view.model.apply_foreign(found)
            except Exception as error:
                self.totals.counts["bad_updates"] += 1
                code = "bad_model" if isinstance(found, ModelMessage) else "bad_update"
                if not isinstance(error, CodedError):
                    log.exception("the family fails over a record without our headers")
                    code = "failed"
                self._follower.set_aside(record, code, error)

    def _good(self, part: pa.Table) -> Events:
        (rows,) = part.combine_chunks().to_batches()
        return Events.read(rows, self._read, self._settings.input_topic.max_line_bytes)

    def _fold(self, view: View, part: pa.Table, good: Events, producer: Producer) -> int:
        """Fold events into one view and queue the messages; returns their number."""
        if view.retired:
            return 0
        if view.model.fraction_loaded < self._settings.speed.min_model_load_fraction:
            # Only with a model that is not ours, whose vectors come one by one (Oryx's rule).
            self.totals.counts["events_before_the_model"] += part.num_rows
            return 0
        kept = _from(part, view.begins)
        if not kept.num_rows:
            return 0
        good = self._poison.without(good if kept is part else self._good(kept))
        try:
            return self._queue(view.fold(kept, good), producer)
        except FoldError as error:
            self._poison.note(good, error)
            view.retired = True
            return 0

    def _queue(self, messages: Iterable[Message], producer: Producer) -> int:
        topic, queued = self._settings.update_topic.name, 0
        for message in messages:
            headers = message.stamp.to_headers() if message.stamp else ()
            producer.send(topic, message.key, message.value, headers)
            queued += 1
        return queued


def _from(part: pa.Table, begins: dict[int, int]) -> pa.Table:
    """Return the events at or after an offset for each partition; nothing is copied if all are."""
    for partition, begin in begins.items():
        early = pc.and_(pc.equal(part["partition"], partition), pc.less(part["offset"], begin))
        if pc.any(early).as_py():
            part = part.filter(pc.invert(early))
    return part
