"""The input topic while it is read: whether it is still the same one, and what of it is gone."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import islice

import pyarrow as pa

from common.broker import Broker
from common.broker.topics import TopicState
from common.replica.positions import records_between
from speed_layer.run.view import View

log = logging.getLogger(__name__)


class InputTopic:
    """The input topic as the speed layer reads it.

    What is lost is told with its exact range and counted, and the layer goes on from what is
    there: a later generation of the batch layer knows what is in the history.

    Parameters
    ----------
    broker : Broker
        Of the input topic.
    name : str
        Its name.
    counts : Counter of str
        ``input_records_lost``, ``input_topic_changes`` and ``input_topic_cuts``.
    """

    def __init__(self, broker: Broker, name: str, counts: Counter[str]) -> None:
        self._broker = broker
        self._name = name
        self._counts = counts

    def begin(self, view: View) -> dict[int, int]:
        """Return where a view begins to read, having told it what is gone.

        Raises
        ------
        MissingTopicError, BrokerError
            If the topic cannot be read.
        """
        topic = TopicState.read(self._broker, self._name)
        if view.generation is None:
            return dict(topic.end)
        start = topic.from_offsets(view.offsets)
        if view.topic_id and view.topic_id != topic.info.topic_id:
            start = dict(topic.begin)
            self._counts["input_topic_changes"] += 1
            log.error(
                "the input topic %r is not the one that generation %s knows up to %s: it was "
                "deleted and made again, or the configuration names another. What that one held "
                "from there on is lost; this one is folded in from its beginning, %s",
                self._name,
                view.generation,
                view.offsets,
                start,
            )
        elif lost := topic.gone(view.offsets):
            self._counts["input_records_lost"] += sum(
                at - view.offsets.get(p, 0) for p, at in start.items()
            )
            log.error(
                "topic %r no longer holds events that generation %s does not know (%s): they are "
                "left out. Keep the topic longer, and run the batch layer for a generation that "
                "knows them, if they are in its history",
                self._name,
                view.generation,
                lost,
            )
        beyond = {p: at for p, at in start.items() if at > topic.end[p]}
        if beyond:
            self._counts["input_topic_cuts"] += 1
            log.error(
                "topic %r ends at %s, before what generation %s has read (%s): the broker has "
                "lost its end; what comes there now is folded in",
                self._name,
                dict(topic.end),
                view.generation,
                beyond,
            )
        view.read_from(topic.info.topic_id, start)
        return {p: min(at, topic.end[p]) for p, at in start.items()}

    def between(
        self, start: Mapping[int, int], until: Mapping[int, int], at_most: int
    ) -> Iterator[pa.Table]:
        """Yield the events from `start` up to `until`, for each partition, read aside.

        Parameters
        ----------
        start, until : mapping of int to int
            For each partition the first offset, and the first one that is not read any more.
        at_most : int
            Events in one table.

        Yields
        ------
        Table
            Columns as those of a micro-batch: ``partition, offset, timestamp (ms), value``.

        Raises
        ------
        BrokerError
            If the topic cannot be read.
        """
        records = records_between(self._broker, self._name, start, until)
        while some := list(islice(records, at_most)):
            yield pa.table(
                {
                    "partition": pa.array([record.partition for record in some], pa.int32()),
                    "offset": pa.array([record.offset for record in some], pa.int64()),
                    "timestamp": pa.array([record.timestamp for record in some], pa.int64()),
                    "value": pa.array([record.value for record in some], pa.binary()),
                }
            )

    def is_same(self, view: View) -> bool:
        """Whether the topic is the one that the view reads.

        Asked after a micro-batch has been read: an identity never comes back, so that if it is
        the same now, the records were of this topic.
        """
        info = self._broker.topic(self._name)
        if view.generation is None:
            return info is not None
        return info is not None and info.topic_id == view.topic_id

    def has_lost(self, view: View) -> bool:
        """Whether the topic is another one now, or records that the view has not read are gone."""
        if not self.is_same(view):
            return True
        if view.generation is None:
            return False
        begin = self._broker.begin_offsets(self._name)
        return any(at > view.offsets.get(p, 0) for p, at in begin.items())
