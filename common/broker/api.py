"""The protocols of a broker, its producers and its readers, and their errors.

The protocols hold only what the layers use.  ``kafka_python`` and ``confluent`` implement them
with Kafka, ``memory`` inside the process for tests without Kafka.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol, TypeVar

B = TypeVar("B", bound="Broker")

#: The greatest record: a model of 64 MiB, and what the protocol adds to it.
MAX_MESSAGE_BYTES = 68 * 1024 * 1024
#: Where a reader starts, for each partition: an offset, or either end of the partition.
Position = Mapping[int, int] | Literal["earliest", "latest"]


class BrokerError(RuntimeError):
    """The broker refused a request or did not answer in time; the text says how to react.

    Attributes
    ----------
    retriable : bool
        Whether the same call may succeed later without a manual change.
    outcome_unknown : bool
        Whether records may have been written despite the error.
    """

    def __init__(
        self, message: str, *, retriable: bool = False, outcome_unknown: bool = False
    ) -> None:
        super().__init__(message)
        self.retriable = retriable
        self.outcome_unknown = outcome_unknown


class Record(NamedTuple):
    """One record of a topic, as bytes; `timestamp` in milliseconds since 1970.

    A named tuple, because readers create hundreds of thousands of records a second.
    """

    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]] = ()


@dataclass(frozen=True, slots=True)
class TopicInfo:
    """A topic as the broker describes it.

    Attributes
    ----------
    name : str
        The topic's name.
    topic_id : str
        The broker's id of this topic; a topic that is deleted and recreated gets another id.
    partitions : int
        Number of partitions; they are numbered from 0.
    """

    name: str
    topic_id: str
    partitions: int


class Producer(Protocol):
    """Writes records, which are durable once :meth:`flush` returns (acks=all, idempotent)."""

    def send(
        self,
        topic: str,
        key: str | None,
        value: str | bytes,
        headers: Sequence[tuple[str, bytes]] = (),
    ) -> None:
        """Queue one record; may block while the queue is full.

        Every client chooses the partition by Kafka's murmur2 hash of the key.
        Records sent to one partition keep their order.
        """

    def flush(self, timeout: float = 30.0) -> None:
        """Wait until every record sent so far is acknowledged.

        Raises
        ------
        BrokerError
            If a record failed or was not acknowledged within `timeout` seconds; if
            `outcome_unknown` is set, it may have been written.
        """

    def send_all(
        self, topic: str, records: Iterable[tuple[str | None, str]], timeout: float = 30.0
    ) -> int:
        """Send (key, value) pairs and wait until they are acknowledged; thread-safe.

        Returns the number of records.  Raises as :meth:`flush`, for these records only.
        """

    def close(self) -> None:
        """Flush the queue, for a few seconds at most, and disconnect."""


class Reader(Protocol):
    """Reads one topic from given positions; commits no offsets and joins no consumer group."""

    def poll(self, timeout: float = 1.0, max_records: int = 5000) -> Sequence[Record]:
        """Return the next records in order of each partition; empty after `timeout` seconds.

        Raises
        ------
        BrokerError
            If the broker cannot be read from; `retriable` if polling again may help.
        """

    def positions(self) -> Mapping[int, int]:
        """Return for each partition the offset that is read next.

        A position also moves past offsets that hold no record (transaction markers).
        """

    def close(self) -> None:
        """Disconnect."""


class Broker(Protocol):
    """A connection to one cluster; everything on it may raise :class:`BrokerError`."""

    def producer(self) -> Producer:
        """Open a producer."""

    def reader(self, topic: str, start: Position = "earliest") -> Reader:
        """Open a reader of all partitions of `topic`.

        A partition that is not in a mapping is read from its beginning.
        """

    def topic(self, name: str) -> TopicInfo | None:
        """Describe a topic; None if it does not exist."""

    def create_topic(
        self, name: str, partitions: int, config: Mapping[str, str] | None = None
    ) -> bool:
        """Create a topic with the broker's default replication; False if it exists."""

    def delete_topic(self, name: str) -> bool:
        """Delete a topic and wait until it is gone; False if it does not exist."""

    def begin_offsets(self, topic: str) -> dict[int, int]:
        """Return for each partition the oldest offset that can still be read."""

    def end_offsets(self, topic: str) -> dict[int, int]:
        """Return for each partition the offset that the next record gets."""

    def offsets_at(self, topic: str, timestamp: int) -> dict[int, int]:
        """Return for each partition the first offset with a record not older than `timestamp` (ms).

        If all records are older, the end offset.
        """

    def cluster_id(self) -> str:
        """Return the cluster's identity."""

    def close(self) -> None:
        """Disconnect."""

    def __enter__(self: B) -> B:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def read_all(reader: Reader, until: Mapping[int, int]) -> Iterator[Record]:
    """Yield records until the reader's position in every partition reaches its offset in `until`.

    Partitions whose position is already there are not waited for.  A partition that is read
    faster than the others may yield records beyond its offset.
    """
    while any(reader.positions().get(number, 0) < end for number, end in until.items()):
        yield from reader.poll()


def start_offsets(broker: Broker, topic: str, start: Position) -> dict[int, int]:
    """Return the first offset to read, for every partition of `topic`.

    Raises
    ------
    BrokerError
        If there is no such topic, or `start` names a partition that it does not have.
    """
    if start == "latest":
        return broker.end_offsets(topic)
    begin = broker.begin_offsets(topic)
    if start == "earliest":
        return begin
    unknown = sorted(set(start) - set(begin))
    if unknown:
        message = f"topic {topic!r} has no partitions {unknown}: it has {len(begin)}"
        raise BrokerError(message)
    return {**begin, **start}
