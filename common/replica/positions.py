"""Where a generation's messages begin on the update topic."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from common.broker import Broker, Record, read_all
from common.broker.topics import ordered_topic
from common.store.generations import Generation
from common.store.position import Position


@dataclass(frozen=True)
class Start:
    """Where to begin to read a generation's messages.

    Attributes
    ----------
    offsets : mapping of int to int
        For each partition the first offset to read.
    batch_last : int
        The last sequence of the batch layer's own messages on this topic; 0 where it is not
        known, or they are not there.
    whole : bool
        Whether all records since the generation's publication can still be read.
    sure : bool
        Whether nothing but the batch layer's own messages can be gone.
    """

    offsets: Mapping[int, int]
    batch_last: int = 0
    whole: bool = True
    sure: bool = True

    @property
    def offset(self) -> int:
        """The first offset to read; the update topic has one partition."""
        return min(self.offsets.values(), default=0)


def start_of(broker: Broker, topic: str, newest: Generation | None) -> Start:
    """Return where to begin to read the update topic for a generation.

    Its publisher has written that down.  Of older generations the time at which the manifest
    was written tells it; of one that was published on a topic that is no more, all is read.

    Parameters
    ----------
    broker : Broker
        Of the update topic.
    topic : str
        The update topic.
    newest : Generation or None
        The generation; None for the topic's beginning.

    Raises
    ------
    BrokerError, UnusableTopicError
        If the topic cannot be read.
    """
    info = ordered_topic(broker, topic)
    begin = broker.begin_offsets(topic)
    if newest is None:
        return Start(begin)
    noted = newest.position
    if noted is None:
        at = broker.offsets_at(topic, newest.manifest.created)
        # Where all that is left is later, there may have been more of it.
        whole = all(at[p] > begin[p] or not begin[p] for p in begin)
        return Start({p: max(at[p], begin[p]) for p in begin}, whole=whole)
    if noted.topic_id != info.topic_id:
        unread = any(begin.values())
        return Start(begin, whole=False, sure=not unread)
    gone = max(begin[p] - noted.offsets.get(p, 0) for p in begin)
    return Start(
        {p: max(noted.offsets.get(p, 0), begin[p]) for p in begin},
        batch_last=noted.records - 1,
        whole=gone <= 0,
        sure=gone <= noted.records,
    )


def position_at(broker: Broker, topic: str, generation: Generation, records: int) -> Position:
    """Return where the messages of a generation begin that is about to be published.

    That is the topic's end; or before it, where the speed layer has found the generation in
    the store, and fed it, before its publisher came to send it.

    Parameters
    ----------
    broker : Broker
        Of the update topic.
    topic : str
        The update topic.
    generation : Generation
        The generation.
    records : int
        How many messages its publisher is about to send.
    """
    info = ordered_topic(broker, topic)
    ends = broker.end_offsets(topic)
    at = broker.offsets_at(topic, generation.manifest.created)
    return Position(info.topic_id, {p: min(end, at[p]) for p, end in ends.items()}, records)


def records_between(
    broker: Broker, topic: str, start: Mapping[int, int], until: Mapping[int, int]
) -> Iterator[Record]:
    """Yield the records from `start` up to `until`, by a reader of their own."""
    if all(start.get(p, 0) >= end for p, end in until.items()):
        return
    reader = broker.reader(topic, start)
    try:
        for record in read_all(reader, until):
            if record.offset < until.get(record.partition, 0):
                yield record
    finally:
        reader.close()
