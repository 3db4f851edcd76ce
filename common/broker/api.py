"""What the layers ask of a broker.

The interface is owned by its callers and holds only what they use.  ``kafka_python`` and
``confluent`` implement it over Kafka, ``memory`` in this process for tests of logic.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

if TYPE_CHECKING:
    pass

#: Where a reader starts, for each partition: an offset, or either end of the partition.
Position = Mapping[int, int] | Literal["earliest", "latest"]


class BrokerError(RuntimeError):
    """The broker refused, or did not answer in time; the text says what to do about it.

    Attributes
    ----------
    retriable : bool
        Whether the same call may succeed later, with nothing changed by hand.
    outcome_unknown : bool
        Whether records may have been written in spite of the error.
    """

    def __init__(
        self, message: str, *, retriable: bool = False, outcome_unknown: bool = False
    ) -> None:
        super().__init__(message)
        self.retriable = retriable
        self.outcome_unknown = outcome_unknown


class Record(NamedTuple):
    """One record of a topic, as bytes; `timestamp` in milliseconds since 1970.

    A tuple, because readers make hundreds of thousands a second of them.
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
        The broker's identity of this topic: another one after it was deleted and made again.
    partitions : int
        How many partitions it has, numbered from 0.
    """

    name: str
    topic_id: str
    partitions: int


class Producer(Protocol):
    """Writes records; durable once :meth:`flush` has returned (acks=all, idempotent)."""

    def send(
        self,
        topic: str,
        key: str | None,
        value: str | bytes,
        headers: Sequence[tuple[str, bytes]] = (),
    ) -> None:
        """Queue one record; may block while the queue is full.

        Keys choose the partition by Kafka's murmur2 hash, with every client alike.
        Records sent to one partition keep their order.
        """

    def flush(self, timeout: float = 30.0) -> None:
        """Wait until every record sent so far is acknowledged.

        Raises
        ------
        BrokerError
            If any of them failed or was not acknowledged in `timeout` seconds
            (`outcome_unknown` tells whether it may be written all the same).
        """

    def send_all(
        self, topic: str, records: Iterable[tuple[str | None, str]], timeout: float = 30.0
    ) -> int:
        """Send (key, value) pairs and wait for the acknowledgement of these; thread-safe.

        Returns the number of records.  Raises as :meth:`flush`, for these records alone.
        """

    def close(self) -> None:
        """Flush what is queued, for a few seconds at most, and disconnect."""


class Reader(Protocol):
    """Reads one topic from given positions; it commits nothing and joins no group."""

    def poll(self, timeout: float = 1.0, max_records: int = 5000) -> Sequence[Record]:
        """Return the next records in order of each partition; empty after `timeout` seconds.

        Raises
        ------
        BrokerError
            If the broker cannot be asked; `retriable` where polling again may help.
        """

    def positions(self) -> Mapping[int, int]:
        """For each partition the offset that will be read next.

        Past the last record returned it also moves over offsets that hold no record (marks of
        transactions).
        """

    def close(self) -> None:
        """Disconnect."""


class Broker(Protocol):
    """A connection to one cluster; everything on it may raise :class:`BrokerError`."""

    def producer(self) -> Producer:
        """Open a producer."""

    def reader(self, topic: str, start: Position = "earliest") -> Reader:
        """Open a reader of all partitions of `topic`.

        A partition that a mapping does not name is read from its beginning.
        """

    def topic(self, name: str) -> TopicInfo | None:
        """Describe a topic; None where there is none of this name."""

    def create_topic(
        self, name: str, partitions: int, config: Mapping[str, str] | None = None
    ) -> bool:
        """Create a topic (replication as the broker's default); False if it exists."""

    def delete_topic(self, name: str) -> bool:
        """Delete a topic, waiting until it is gone; False if there is none."""

    def begin_offsets(self, topic: str) -> dict[int, int]:
        """For each partition the oldest offset that can still be read."""

    def end_offsets(self, topic: str) -> dict[int, int]:
        """For each partition the offset that the next record will get."""

    def offsets_at(self, topic: str, timestamp: int) -> dict[int, int]:
        """For each partition the first offset whose record is not older than `timestamp` (ms).

        The end offset where all are older.
        """

    def cluster_id(self) -> str:
        """Return the cluster's identity."""

    def close(self) -> None:
        """Disconnect."""

    def __enter__(self) -> Broker: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


def read_all(reader: Reader, until: Mapping[int, int]) -> Iterator[Record]:
    """Yield records until every partition has reached the offset that `until` names.

    What the reader has passed already, and partitions that hold nothing before that offset,
    are not waited for.  A partition that is ahead of the others may yield records beyond it.
    """
    while any(reader.positions().get(number, 0) < end for number, end in until.items()):
        yield from reader.poll()
