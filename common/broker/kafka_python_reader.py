"""Reads records with kafka-python."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kafka import KafkaConsumer, TopicPartition, errors

from common.broker.api import Broker, BrokerError, Position, Record
from common.broker.failures import out_of_range, unknown_topic
from common.broker.limits import FETCH_BYTES
from common.broker.positions import start_offsets
from common.broker.watch import TopicWatch


class KafkaPythonReader:
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
        self._consumer = KafkaConsumer(**_consumer_config(config))
        self._assign()
        self._watch = TopicWatch(broker, topic, info.topic_id, len(self._at))

    def poll(self, timeout: float = 1.0, max_records: int = 5000) -> Sequence[Record]:
        """Return the next records in order of each partition; empty after `timeout` seconds.

        Raises
        ------
        BrokerError
            If a position is out of range, the topic was deleted, or reading it is not permitted.
        """
        added = self._watch.added()
        if added:
            self._at.update(added)
            self._assign()
        try:
            fetched = self._consumer.poll(int(timeout * 1000), max_records)
        except errors.OffsetOutOfRangeError as error:
            raise self._out_of_range(error) from error
        except errors.KafkaError as error:
            if error.retriable:
                return []
            message = f"topic {self._topic!r} cannot be read: {error}"
            raise BrokerError(message) from error
        return self._take(fetched)

    def positions(self) -> dict[int, int]:
        """Return for each partition the offset that is read next."""
        for partition, at in self._at.items():
            # The client's position may be ahead: it skips transaction markers.
            position = self._consumer.position(TopicPartition(self._topic, partition), 0)
            self._at[partition] = max(at, position or 0)
        return dict(self._at)

    def close(self) -> None:
        """Disconnect."""
        self._watch.close()
        self._consumer.close()

    def _assign(self) -> None:
        partitions = {p: TopicPartition(self._topic, p) for p in self._at}
        self._consumer.assign(list(partitions.values()))
        for partition, at in self._at.items():
            self._consumer.seek(partitions[partition], at)

    def _take(self, fetched: Mapping[Any, Sequence[Any]]) -> list[Record]:
        for partition, records in fetched.items():
            self._at[partition.partition] = records[-1].offset + 1
        return [
            Record(r.partition, r.offset, r.timestamp, r.key, r.value, r.headers)
            for records in fetched.values()
            for r in records
        ]

    def _out_of_range(self, error: errors.OffsetOutOfRangeError) -> BrokerError:
        ((at, position),) = error.args[0].items()
        begin = self._broker.begin_offsets(self._topic)[at.partition]
        end = self._broker.end_offsets(self._topic)[at.partition]
        return out_of_range(self._topic, at.partition, position, (begin, end))


def _consumer_config(config: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **config,
        "group_id": None,
        "enable_auto_commit": False,
        "auto_offset_reset": "none",
        "isolation_level": "read_committed",
        "allow_auto_create_topics": False,
        "fetch_max_bytes": FETCH_BYTES,
        "max_partition_fetch_bytes": FETCH_BYTES // 4,
        "metrics_enabled": False,
    }
