"""The broker protocol with confluent-kafka (librdkafka): fast, an optional dependency."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from confluent_kafka import (
    Consumer,
    KafkaError,
    KafkaException,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # re-exported by name only
    AdminClient,
    NewTopic,
    OffsetSpec,
)

from common.broker.api import BrokerError, Position, Record
from common.broker.confluent_producer import ConfluentProducer
from common.broker.failures import unreachable
from common.broker.kafka_clients import (
    CONSUMER,
    FETCH_BYTES,
    RECEIVE_BYTES,
    At,
    KafkaBroker,
    KafkaReader,
    connection,
    quiet_logger,
)
from common.broker.watch import INTERVAL_SECONDS
from common.config import BrokerClient

_DISCONNECTED = {
    KafkaError._TRANSPORT,
    KafkaError._TIMED_OUT,
    KafkaError._ALL_BROKERS_DOWN,
    KafkaError._RESOLVE,
    KafkaError._AUTHENTICATION,
    KafkaError._SSL,
    KafkaError.REQUEST_TIMED_OUT,
}
# Errors that the reader has to tell; from all others librdkafka recovers by itself.
_FATAL = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError._AUTHENTICATION,
    KafkaError._FATAL,
    KafkaError._BAD_MSG,
    KafkaError._BAD_COMPRESSION,
    KafkaError._NOT_IMPLEMENTED,
}
_SPECS: Mapping[str, Any] = {
    "earliest": OffsetSpec.earliest(),  # type: ignore[no-untyped-call]
    "latest": OffsetSpec.latest(),  # type: ignore[no-untyped-call]
}


class ConfluentBroker(KafkaBroker):
    """A connection to one cluster."""

    def __init__(
        self, address: str, settings: BrokerClient, watch_seconds: float = INTERVAL_SECONDS
    ) -> None:
        super().__init__(address, settings, watch_seconds)
        self._last_error = ""
        self._config = client_config(address, settings)
        config: dict[str, Any] = {**self._config, "error_cb": self._note_error}
        self._admin = AdminClient(config)
        self._within = {"request_timeout": self._limit}
        self.cluster_id()

    def producer(self) -> ConfluentProducer:
        """Open a producer."""
        return ConfluentProducer(self, self._config, self._settings.delivery_timeout_seconds)

    def reader(self, topic: str, start: Position = "earliest") -> ConfluentReader:
        """Open a reader of all partitions of `topic`."""
        config = _consumer_config(self._config)
        return ConfluentReader(self, lambda: Consumer(config), topic, start, self._watch_seconds)

    def close(self) -> None:
        """Do nothing: the client disconnects when it is no longer referenced."""

    @contextmanager
    def _asking(self) -> Iterator[None]:
        try:
            yield
        except KafkaException as error:
            raise self._translated(error.args[0]) from error

    def _describe(self, topic: str) -> tuple[str, Sequence[int]]:
        asked = self._admin.describe_topics(TopicCollection([topic]), **self._within)
        found = asked[topic].result()
        leaders = [-1 if part.leader is None else part.leader.id for part in found.partitions]
        return str(UUID(int=_unsigned(found.topic_id))), leaders

    def _create(self, topic: str, partitions: int, config: dict[str, str]) -> None:
        new = NewTopic(topic, num_partitions=partitions, config=config)
        self._admin.create_topics([new], **self._within)[topic].result()

    def _delete(self, topic: str) -> None:
        self._admin.delete_topics([topic], **self._within)[topic].result()

    def _offsets(self, topic: str, partitions: range, at: At) -> dict[int, int]:
        spec = OffsetSpec.for_timestamp(at) if isinstance(at, int) else _SPECS[at]
        asked = {TopicPartition(topic, number): spec for number in partitions}
        found = self._admin.list_offsets(asked, **self._within)
        return {part.partition: future.result().offset for part, future in found.items()}

    def _describe_cluster(self) -> str:
        return str(self._admin.describe_cluster(**self._within).result().cluster_id)

    def _translated(self, error: KafkaError) -> BrokerError:
        if error.code() in _DISCONNECTED:
            # Lets the client tell what it noted meanwhile: a refused connection or password.
            self._admin.poll(0)
            return unreachable(self._address, self._limit, self._last_error or error.str())
        if error.code() == KafkaError._UNKNOWN_TOPIC:
            return self._refused(error.str(), KafkaError.UNKNOWN_TOPIC_OR_PART)
        return self._refused(_text(error), error.code())

    def _note_error(self, error: KafkaError) -> None:
        if error.code() != KafkaError._ALL_BROKERS_DOWN:
            self._last_error = error.str()


class ConfluentReader(KafkaReader):
    """Reads all partitions of one topic with confluent-kafka."""

    def _assign(self, added: Mapping[int, int]) -> None:
        parts = [TopicPartition(self._topic, number, at) for number, at in added.items()]
        self._consumer.incremental_assign(parts)

    def _fetch(self, timeout: float, max_records: int) -> list[Record]:
        deadline = time.monotonic() + timeout
        while True:
            messages = self._consumer.consume(max_records, 0)
            if not messages:
                # A timed consume would wait until all of `max_records` are there.
                first = self._consumer.poll(max(deadline - time.monotonic(), 0))
                messages = [] if first is None else [first]
                if first is not None and max_records > 1:
                    messages += self._consumer.consume(max_records - 1, 0)
            records = self._take(messages)
            if records or time.monotonic() >= deadline:
                return records

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
            # Its offset lies past marks of transactions, which are no records.
            self._at[partition] = max(self._at[partition], message.offset())
        elif code == KafkaError._AUTO_OFFSET_RESET:
            raise self._out_of_range(partition, self._at[partition])
        elif code in _FATAL:
            raise self._unreadable(_text(error))


def client_config(address: str, settings: BrokerClient) -> dict[str, Any]:
    """Return what every librdkafka client of ours is given."""
    logger = quiet_logger("librdkafka")
    return {**connection(settings), "bootstrap.servers": address, "logger": logger}


def _consumer_config(config: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **config,
        **CONSUMER,
        # Demanded by the client; with manual assignment and no commits no group is joined.
        "group.id": "gemsbok",
        "enable.auto.offset.store": False,
        "auto.offset.reset": "error",
        "enable.partition.eof": True,
        "receive.message.max.bytes": RECEIVE_BYTES,
        "queued.max.messages.kbytes": 2 * FETCH_BYTES // 1024,
    }


def _text(error: KafkaError) -> str:
    return f"{error.str()} ({error.name()})"


def _unsigned(topic_id: Any) -> int:
    mask = (1 << 64) - 1
    most, least = topic_id.get_most_significant_bits(), topic_id.get_least_significant_bits()
    return (int(most) & mask) << 64 | int(least) & mask
