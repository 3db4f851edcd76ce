"""A broker in memory of this process, for tests and trials without Kafka.

It follows the rules of Kafka that the layers depend on: partitions by key, offsets that only
grow, a new topic id at each creation, positions that can be out of range.  Switches make it
fail on purpose.
"""

from __future__ import annotations

import itertools
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from common.broker.api import (
    MAX_MESSAGE_BYTES,
    Broker,
    BrokerError,
    Position,
    Record,
    TopicInfo,
    start_offsets,
)
from common.broker.failures import deleted, out_of_range, unknown_topic


def _now() -> int:
    return time.time_ns() // 1_000_000


@dataclass
class _Partition:
    begin: int = 0
    records: list[Record] = field(default_factory=list)

    @property
    def end(self) -> int:
        return self.begin + len(self.records)

    def delete_before(self, offset: int) -> None:
        offset = min(max(offset, self.begin), self.end)
        del self.records[: offset - self.begin]
        self.begin = offset


@dataclass
class _Topic:
    info: TopicInfo
    partitions: list[_Partition]
    max_message_bytes: int
    without_key: itertools.count[int] = field(default_factory=itertools.count)

    def choose(self, key: bytes | None) -> int:
        """Return the partition of a key; records without a key are distributed round robin."""
        if key is None:
            return next(self.without_key) % self.info.partitions
        # Imported here: a process that uses confluent-kafka does not need kafka-python.
        from kafka.partitioner.default import murmur2

        return int((murmur2(key) & 0x7FFFFFFF) % self.info.partitions)


class MemoryBroker(Broker):
    """A cluster in memory; :meth:`named` returns the same one to every caller.

    Its topics outlive :meth:`close`, which each of several layers calls.

    Parameters
    ----------
    clock : callable, optional
        Returns milliseconds since 1970, for the records' timestamps.

    Attributes
    ----------
    unreachable : bool
        Switch: while set, calls fail as with a broker that is down; polls return no records.
    fail_next_flush : BrokerError or None
        Switch: the next `flush` or `send_all` raises it, once.  Records sent before that are
        written if the error's `outcome_unknown` is set, and lost otherwise.
    """

    _named: ClassVar[dict[str, MemoryBroker]] = {}
    _named_lock: ClassVar[threading.Lock] = threading.Lock()

    def __init__(self, clock: Callable[[], int] = _now) -> None:
        self.clock = clock
        self.unreachable = False
        self.fail_next_flush: BrokerError | None = None
        self._topics: dict[str, _Topic] = {}
        self._changed = threading.Condition()
        self._cluster_id = uuid.uuid4().hex

    @classmethod
    def named(cls, address: str) -> MemoryBroker:
        """Return the broker at ``memory://NAME``; the first call creates it."""
        with cls._named_lock:
            return cls._named.setdefault(address, cls())

    @classmethod
    def forget(cls, address: str) -> None:
        """Remove the broker at ``memory://NAME`` with its topics."""
        with cls._named_lock:
            cls._named.pop(address, None)

    def producer(self) -> MemoryProducer:
        """Open a producer."""
        return MemoryProducer(self)

    def reader(self, topic: str, start: Position = "earliest") -> MemoryReader:
        """Open a reader of all partitions of `topic`."""
        return MemoryReader(self, topic, start)

    def topic(self, name: str) -> TopicInfo | None:
        """Describe a topic; None if it does not exist."""
        with self._reached():
            found = self._topics.get(name)
            return found.info if found else None

    def create_topic(
        self, name: str, partitions: int, config: Mapping[str, str] | None = None
    ) -> bool:
        """Create a topic; False if it exists.  Of `config` it heeds ``max.message.bytes``."""
        limit = int((config or {}).get("max.message.bytes", MAX_MESSAGE_BYTES))
        with self._reached():
            if name in self._topics:
                return False
            info = TopicInfo(name, str(uuid.uuid4()), partitions)
            self._topics[name] = _Topic(info, [_Partition() for _ in range(partitions)], limit)
            self._changed.notify_all()
            return True

    def delete_topic(self, name: str) -> bool:
        """Delete a topic; False if it does not exist."""
        with self._reached():
            found = self._topics.pop(name, None)
            self._changed.notify_all()
            return found is not None

    def delete_records(self, topic: str, before: Mapping[int, int]) -> None:
        """Remove the records before an offset in each partition, as retention does."""
        with self._reached():
            partitions = self._get(topic).partitions
            for partition, offset in before.items():
                partitions[partition].delete_before(offset)

    def begin_offsets(self, topic: str) -> dict[int, int]:
        """Return for each partition the oldest offset that can still be read."""
        with self._reached():
            return {p: part.begin for p, part in enumerate(self._get(topic).partitions)}

    def end_offsets(self, topic: str) -> dict[int, int]:
        """Return for each partition the offset that the next record gets."""
        with self._reached():
            return {p: part.end for p, part in enumerate(self._get(topic).partitions)}

    def offsets_at(self, topic: str, timestamp: int) -> dict[int, int]:
        """For each partition, the first offset with a record not older than `timestamp` (ms)."""
        with self._reached():
            return {
                p: next((r.offset for r in part.records if r.timestamp >= timestamp), part.end)
                for p, part in enumerate(self._get(topic).partitions)
            }

    def cluster_id(self) -> str:
        """Return the cluster's identity."""
        with self._reached():
            return self._cluster_id

    def close(self) -> None:
        """Do nothing: other callers may use the same broker."""

    def _reached(self) -> threading.Condition:
        """Return the lock of the broker's state; raises BrokerError while it is unreachable."""
        if self.unreachable:
            message = "the broker in memory was switched to unreachable"
            raise BrokerError(message, retriable=True)
        return self._changed

    def _get(self, topic: str) -> _Topic:
        found = self._topics.get(topic)
        if found is None:
            raise unknown_topic(topic)
        return found

    def _append(self, topic: str, key: bytes | None, value: bytes, headers: _Headers) -> None:
        with self._reached():
            target = self._get(topic)
            if len(key or b"") + len(value) > target.max_message_bytes:
                message = (
                    f"topic {topic!r} takes records of at most {target.max_message_bytes} bytes "
                    f"(max.message.bytes), this one has {len(value)}"
                )
                raise BrokerError(message)
            partition_number = target.choose(key)
            at = target.partitions[partition_number]
            at.records.append(
                Record(partition_number, at.end, self.clock(), key, value, tuple(headers))
            )
            self._changed.notify_all()

    def _take_failure(self) -> BrokerError | None:
        with self._changed:
            failure, self.fail_next_flush = self.fail_next_flush, None
            return failure

    @property
    def _dropping(self) -> bool:
        failure = self.fail_next_flush
        return failure is not None and not failure.outcome_unknown


_Headers = Sequence[tuple[str, bytes]]


class MemoryProducer:
    """Writes each record when it is sent; the next :meth:`flush` raises failures, as with Kafka."""

    def __init__(self, broker: MemoryBroker) -> None:
        self._broker = broker
        self._failure: BrokerError | None = None

    def send(self, topic: str, key: str | None, value: str | bytes, headers: _Headers = ()) -> None:
        """Write one record, or keep its error for :meth:`flush`."""
        try:
            self._write(topic, key, value, headers)
        except BrokerError as error:
            self._failure = self._failure or error

    def flush(self, timeout: float = 30.0) -> None:
        """Raise the first error since the last flush."""
        failure, self._failure = self._failure, None
        failure = self._broker._take_failure() or failure
        if failure is not None:
            raise failure

    def send_all(
        self, topic: str, records: Iterable[tuple[str | None, str]], timeout: float = 30.0
    ) -> int:
        """Write (key, value) pairs; raises errors of these records only."""
        count = 0
        try:
            for key, value in records:
                self._write(topic, key, value, ())
                count += 1
        except BrokerError as error:
            error.outcome_unknown = count > 0
            raise
        failure = self._broker._take_failure()
        if failure is not None:
            raise failure
        return count

    def close(self) -> None:
        """Do nothing: no record is queued."""

    def _write(self, topic: str, key: str | None, value: str | bytes, headers: _Headers) -> None:
        if not self._broker._dropping:
            data = value.encode() if isinstance(value, str) else value
            self._broker._append(topic, None if key is None else key.encode(), data, headers)


class MemoryReader:
    """Reads one topic; a waiting :meth:`poll` returns when a record is written."""

    def __init__(self, broker: MemoryBroker, topic: str, start: Position) -> None:
        self._broker = broker
        self._name = topic
        with broker._reached():
            self._topic_id = broker._get(topic).info.topic_id
            self._at = start_offsets(broker, topic, start)

    def poll(self, timeout: float = 1.0, max_records: int = 5000) -> Sequence[Record]:
        """Return the next records in order of each partition; empty after `timeout` seconds."""
        records: list[Record] = []
        with self._broker._changed:
            self._broker._changed.wait_for(lambda: self._take(records, max_records), timeout)
        return records

    def positions(self) -> dict[int, int]:
        """Return for each partition the offset that is read next."""
        return dict(self._at)

    def close(self) -> None:
        """Do nothing: there is no connection."""

    def _take(self, records: list[Record], max_records: int) -> bool:
        if self._broker.unreachable:
            return False
        topic = self._broker._topics.get(self._name)
        if topic is None or topic.info.topic_id != self._topic_id:
            raise deleted(self._name)
        for number, partition in enumerate(topic.partitions):
            at = self._at[number]
            if not partition.begin <= at <= partition.end:
                raise out_of_range(self._name, number, at, (partition.begin, partition.end))
            start = at - partition.begin
            new = partition.records[start : start + max_records - len(records)]
            self._at[number] = at + len(new)
            records += new
        return bool(records)
