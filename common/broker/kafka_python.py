"""The broker protocol with kafka-python: pure Python, a required dependency."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition, errors
from kafka.admin import OffsetSpec

from common.broker.api import Position, Record
from common.broker.failures import unreachable
from common.broker.kafka_clients import (
    CONSUMER,
    RECEIVE_BYTES,
    At,
    KafkaBroker,
    KafkaReader,
    connection,
    quiet_logger,
)
from common.broker.kafka_python_producer import KafkaPythonProducer, arguments
from common.broker.watch import INTERVAL_SECONDS
from common.config import BrokerClient

_DISCONNECTED = (
    errors.KafkaConnectionError,
    errors.KafkaTimeoutError,
    errors.RequestTimedOutError,
    errors.BrokerNotAvailableError,
    errors.MetadataEmptyBrokerList,
    errors.Cancelled,
)
_SPECS = {"earliest": OffsetSpec.EARLIEST, "latest": OffsetSpec.LATEST}


class KafkaPythonBroker(KafkaBroker):
    """A connection to one cluster."""

    def __init__(
        self, address: str, settings: BrokerClient, watch_seconds: float = INTERVAL_SECONDS
    ) -> None:
        super().__init__(address, settings, watch_seconds)
        self._config = client_config(address, settings)
        # Guards `_admin`, which is not thread-safe: the watches of readers use it in their threads.
        self._lock = threading.Lock()
        with self._translated():
            self._admin = KafkaAdminClient(
                **self._config, request_timeout_ms=int(self._limit * 1000)
            )

    def producer(self) -> KafkaPythonProducer:
        """Open a producer."""
        with self._translated():
            return KafkaPythonProducer(self, self._config, self._settings)

    def reader(self, topic: str, start: Position = "earliest") -> KafkaPythonReader:
        """Open a reader of all partitions of `topic`."""
        with self._translated():
            config = _consumer_config(self._config)
            return KafkaPythonReader(
                self, lambda: KafkaConsumer(**config), topic, start, self._watch_seconds
            )

    def close(self) -> None:
        """Disconnect."""
        with self._lock:
            self._admin.close()

    @contextmanager
    def _asking(self) -> Iterator[None]:
        with self._lock, self._translated():
            yield

    def _describe(self, topic: str) -> tuple[str, Sequence[int]]:
        found = self._admin.describe_topics([topic])[0]
        error = errors.for_code(found["error_code"])
        if error is not errors.NoError:
            raise error
        return str(found["topic_id"]), [part["leader_id"] for part in found["partitions"]]

    def _create(self, topic: str, partitions: int, config: dict[str, str]) -> None:
        self._admin.create_topics({topic: {"num_partitions": partitions, "configs": config}})

    def _delete(self, topic: str) -> None:
        self._admin.delete_topics([topic])

    def _offsets(self, topic: str, partitions: range, at: At) -> dict[int, int]:
        spec = _SPECS[at] if isinstance(at, str) else at
        asked = {TopicPartition(topic, number): spec for number in partitions}
        found = self._admin.list_partition_offsets(asked)
        return {part.partition: known.offset for part, known in sorted(found.items())}

    def _describe_cluster(self) -> str:
        return str(self._admin.describe_cluster()["cluster_id"])

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except errors.NodeNotReadyError as error:
            # The error's text is about the client's internals and is not shown.
            raise unreachable(self._address, self._limit) from error
        except _DISCONNECTED as error:
            raise unreachable(self._address, self._limit, error) from error
        except errors.BrokerResponseError as error:
            raise self._refused(str(error), error.errno) from error
        except errors.KafkaError as error:
            raise self._refused(str(error), None, error.retriable) from error


class KafkaPythonReader(KafkaReader):
    """Reads all partitions of one topic with kafka-python."""

    def positions(self) -> dict[int, int]:
        """For each partition the offset that will be read next."""
        for partition, at in self._at.items():
            # The client's may be ahead: it passes over marks of transactions.
            position = self._consumer.position(TopicPartition(self._topic, partition), 0)
            self._at[partition] = max(at, position or 0)
        return super().positions()

    def _assign(self, added: Mapping[int, int]) -> None:
        # The client takes no addition to what it reads, only all of it anew.
        partitions = {p: TopicPartition(self._topic, p) for p in self._at}
        self._consumer.assign(list(partitions.values()))
        for partition, at in self._at.items():
            self._consumer.seek(partitions[partition], at)

    def _fetch(self, timeout: float, max_records: int) -> list[Record]:
        try:
            found = self._consumer.poll(int(timeout * 1000), max_records)
        except errors.OffsetOutOfRangeError as error:
            ((part, position),) = error.args[0].items()
            raise self._out_of_range(part.partition, position) from error
        except errors.KafkaError as error:
            if error.retriable:
                return []
            raise self._unreadable(str(error)) from error
        for part, records in found.items():
            self._at[part.partition] = records[-1].offset + 1
        return [
            Record(r.partition, r.offset, r.timestamp, r.key, r.value, r.headers)
            for records in found.values()
            for r in records
        ]


def client_config(address: str, settings: BrokerClient) -> dict[str, Any]:
    """Return what every client of ours is given."""
    quiet_logger("kafka")
    return {
        **arguments(connection(settings)),
        "bootstrap_servers": address.split(","),
        "bootstrap_timeout_ms": int(settings.connect_timeout_seconds * 1000),
        "receive_message_max_bytes": RECEIVE_BYTES,
    }


def _consumer_config(config: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **config,
        **arguments(CONSUMER),
        "group_id": None,
        "auto_offset_reset": "none",
        "metrics_enabled": False,
    }
