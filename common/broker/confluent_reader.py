"""Reads records with confluent-kafka."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from confluent_kafka import Consumer, KafkaError, TopicPartition

from common.broker.api import Broker, BrokerError, Position, Record
from common.broker.failures import out_of_range, unknown_topic
from common.broker.limits import FETCH_BYTES, RECEIVE_BYTES
from common.broker.positions import start_offsets
from common.broker.watch import TopicWatch

# Errors that the reader raises; librdkafka recovers from all others by itself.
_FATAL = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError._AUTHENTICATION,
    KafkaError._FATAL,
    KafkaError._BAD_MSG,
    KafkaError._BAD_COMPRESSION,
    KafkaError._NOT_IMPLEMENTED,
}


class ConfluentReader:
    """Reads all partitions of one topic, including partitions that are added later.

    While the broker is unreachable, polls return no records; the reader continues afterwards.
    """

    def __init__(
        self, broker: Broker, config: Mapping[str, Any], topic: str, start: Position
    ) -> None:
        info = broker.topic(topic)
        if info is None:
            raise unknown_topic(topic)
        self._broker = broker
        self._topic = topic
        self._at = start_offsets(broker, topic, start)
        self._consumer = Consumer(_consumer_config(config))
        self._consumer.assign(_assignment(topic, self._at))
        self._watch = TopicWatch(broker, topic, info.topic_id, len(self._at))

    def poll(self, timeout: float = 1.0, max_records: int = 5000) -> Sequence[Record]:
        """Return the next records in order of each partition; empty after `timeout` seconds.

        Raises
        ------
        BrokerError
            If a position is out of range, the topic was deleted, or reading it is not permitted.
        """
        self._assign_added()
        deadline = time.monotonic() + timeout
        while True:
            messages = self._consumer.consume(max_records, 0)
            if not messages:
                # `consume` with a timeout would wait for all of `max_records`.
                first = self._consumer.poll(max(deadline - time.monotonic(), 0))
                messages = [] if first is None else [first]
                if first is not None and max_records > 1:
                    messages += self._consumer.consume(max_records - 1, 0)
            records = self._take(messages)
            if records or time.monotonic() >= deadline:
                return records

    def positions(self) -> dict[int, int]:
        """Return for each partition the offset that is read next."""
        return dict(self._at)

    def close(self) -> None:
        """Disconnect."""
        self._watch.close()
        self._consumer.close()

    def _assign_added(self) -> None:
        added = self._watch.added()
        if added:
            self._at.update(added)
            self._consumer.incremental_assign(_assignment(self._topic, added))

    def _take(self, messages: Sequence[Any]) -> list[Record]:
        records = [
            Record(
                m.partition(), m.offset(), m.timestamp()[1], m.key(), m.value(), m.headers() or ()
            )
            for m in messages
            if m.error() is None
        ]
        self._at.update({record.partition: record.offset + 1 for record in records})
        if len(records) < len(messages):
            for message in messages:
                if message.error() is not None:
                    self._note(message.error(), message)
        return records

    def _note(self, error: KafkaError, message: Any) -> None:
        code, partition = error.code(), message.partition()
        if code == KafkaError._PARTITION_EOF:
            # The offset at the partition's end lies past transaction markers, which are no records.
            self._at[partition] = max(self._at[partition], message.offset())
        elif code == KafkaError._AUTO_OFFSET_RESET:
            self._raise_out_of_range(partition)
        elif code in _FATAL:
            text = f"topic {self._topic!r} cannot be read: {error.str()} ({error.name()})"
            raise BrokerError(text)

    def _raise_out_of_range(self, partition: int) -> None:
        begin = self._broker.begin_offsets(self._topic)[partition]
        end = self._broker.end_offsets(self._topic)[partition]
        raise out_of_range(self._topic, partition, self._at[partition], (begin, end))


def _assignment(topic: str, at: Mapping[int, int]) -> list[TopicPartition]:
    return [TopicPartition(topic, partition, offset) for partition, offset in at.items()]


def _consumer_config(config: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **config,
        # Required by the client; without subscription and commits it joins no group.
        "group.id": "gemsbok",
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": "error",
        "enable.partition.eof": True,
        "isolation.level": "read_committed",
        "allow.auto.create.topics": False,
        "fetch.max.bytes": FETCH_BYTES,
        "max.partition.fetch.bytes": FETCH_BYTES // 4,
        "receive.message.max.bytes": RECEIVE_BYTES,
        "queued.max.messages.kbytes": 2 * FETCH_BYTES // 1024,
    }
