"""The broker protocol with confluent-kafka (librdkafka): fast, an optional dependency."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from types import TracebackType
from typing import Any
from uuid import UUID

from confluent_kafka import KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # re-exported by name only
    AdminClient,
    NewTopic,
    OffsetSpec,
)

from common.broker.api import BrokerError, Position, TopicInfo
from common.broker.confluent_producer import ConfluentProducer
from common.broker.confluent_reader import ConfluentReader
from common.broker.failures import unknown_topic, unreachable
from common.broker.retry import retry, wait_for
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
# Transient errors: a leader is moving, or is not elected yet.
_TRANSIENT = {
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.FENCED_LEADER_EPOCH,
    KafkaError.UNKNOWN_LEADER_EPOCH,
    KafkaError.NOT_CONTROLLER,
    KafkaError.NETWORK_EXCEPTION,
    KafkaError.KAFKA_STORAGE_ERROR,
}
_UNKNOWN_TOPIC = {KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC}


class ConfluentBroker:
    """A connection to one cluster.

    Parameters
    ----------
    address : str
        ``host:port[,host:port]``.
    settings : BrokerClient
        Time limits and security.

    Raises
    ------
    BrokerError
        If no broker answers within ``connect_timeout_seconds``.
    """

    def __init__(self, address: str, settings: BrokerClient) -> None:
        self._address = address
        self._settings = settings
        self._last_error = ""
        self._config = client_config(address, settings)
        config: dict[str, Any] = {**self._config, "error_cb": self._note_error}
        self._admin = AdminClient(config)
        self._cluster_id = self.cluster_id()

    def producer(self) -> ConfluentProducer:
        """Open a producer."""
        return ConfluentProducer(self._config, self._settings.delivery_timeout_seconds, self.topic)

    def reader(self, topic: str, start: Position = "earliest") -> ConfluentReader:
        """Open a reader of all partitions of `topic`."""
        return ConfluentReader(self, self._config, topic, start)

    def topic(self, name: str) -> TopicInfo | None:
        """Describe a topic; None if it does not exist."""
        names = TopicCollection([name])
        try:
            description = self._ask(
                lambda admin, limit: admin.describe_topics(names, **limit)[name]
            )
        except _UnknownTopic:
            return None
        topic_id = UUID(int=_unsigned(description.topic_id))
        return TopicInfo(name, str(topic_id), len(description.partitions))

    def create_topic(
        self, name: str, partitions: int, config: Mapping[str, str] | None = None
    ) -> bool:
        """Create a topic and wait until it can be used; False if it exists."""
        new = NewTopic(name, num_partitions=partitions, config=dict(config or {}))
        try:
            self._ask(lambda admin, limit: admin.create_topics([new], **limit)[name])
        except _TopicExists:
            return False
        wait_for(
            lambda: self._has_leaders(name),
            self._limit,
            f"topic {name!r} to appear at {self._address}",
        )
        return True

    def delete_topic(self, name: str) -> bool:
        """Delete a topic and wait until it is gone; False if it does not exist."""
        try:
            self._ask(lambda admin, limit: admin.delete_topics([name], **limit)[name])
        except _UnknownTopic:
            return False
        wait_for(
            lambda: self.topic(name) is None,
            self._limit,
            f"topic {name!r} to disappear at {self._address}",
        )
        return True

    def begin_offsets(self, topic: str) -> dict[int, int]:
        """Return for each partition the oldest offset that can still be read."""
        return self._offsets(topic, OffsetSpec.earliest())  # type: ignore[no-untyped-call]

    def end_offsets(self, topic: str) -> dict[int, int]:
        """Return for each partition the offset that the next record gets."""
        return self._offsets(topic, OffsetSpec.latest())  # type: ignore[no-untyped-call]

    def offsets_at(self, topic: str, timestamp: int) -> dict[int, int]:
        """For each partition, the first offset with a record not older than `timestamp` (ms)."""
        end = self.end_offsets(topic)
        at = self._offsets(topic, OffsetSpec.for_timestamp(timestamp))
        return {p: end[p] if offset < 0 else offset for p, offset in at.items()}

    def cluster_id(self) -> str:
        """Return the cluster's identity."""
        return str(self._ask(lambda admin, limit: admin.describe_cluster(**limit)).cluster_id)

    def close(self) -> None:
        """Do nothing: the client disconnects when it is no longer referenced."""

    def __enter__(self) -> ConfluentBroker:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def _limit(self) -> float:
        return self._settings.connect_timeout_seconds

    def _offsets(self, topic: str, spec: Any) -> dict[int, int]:
        return retry(lambda: self._ask_offsets(topic, spec), self._limit)

    def _ask_offsets(self, topic: str, spec: Any) -> dict[int, int]:
        info = self.topic(topic)
        if info is None:
            raise unknown_topic(topic)
        partitions = {TopicPartition(topic, p): spec for p in range(info.partitions)}
        futures = self._admin.list_offsets(partitions, request_timeout=self._limit)
        return {at.partition: self._result(future).offset for at, future in futures.items()}

    def _has_leaders(self, topic: str) -> bool:
        description = self._admin.list_topics(topic, timeout=self._limit).topics[topic]
        partitions: Iterable[Any] = description.partitions.values()
        return bool(description.partitions) and all(
            partition.leader >= 0 for partition in partitions
        )

    def _ask(self, request: Callable[[AdminClient, dict[str, float]], Future[Any]]) -> Any:
        """Send a request to the cluster; retry while its error is transient."""
        limit = {"request_timeout": self._limit}
        return retry(lambda: self._result(request(self._admin, limit)), self._limit)

    def _result(self, future: Future[Any]) -> Any:
        try:
            return future.result()
        except KafkaException as error:
            raise self._translated(error.args[0]) from error

    def _translated(self, error: KafkaError) -> BrokerError:
        code = error.code()
        if code in _DISCONNECTED:
            # Runs `error_cb` for errors noted meanwhile, such as a refused connection or password.
            self._admin.poll(0)
            reason = self._last_error or error.str()
            return unreachable(self._address, self._limit, reason)
        if code in _UNKNOWN_TOPIC:
            return _UnknownTopic(error.str())
        if code == KafkaError.TOPIC_ALREADY_EXISTS:
            return _TopicExists(error.str())
        message = f"the broker at {self._address} refused: {error.str()} ({error.name()})"
        return BrokerError(message, retriable=code in _TRANSIENT)

    def _note_error(self, error: KafkaError) -> None:
        if error.code() != KafkaError._ALL_BROKERS_DOWN:
            self._last_error = error.str()


class _UnknownTopic(BrokerError):
    """The broker knows no such topic."""


class _TopicExists(BrokerError):
    """The broker has a topic of this name."""


def client_config(address: str, settings: BrokerClient) -> dict[str, Any]:
    """Return the properties that all our librdkafka clients share.

    librdkafka logs to the logger ``librdkafka``, which is silent unless a level is set on it:
    its lines about each connection attempt would flood a terminal.
    """
    logger = logging.getLogger("librdkafka")
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.CRITICAL)
    password = settings.sasl_password
    properties = {
        "bootstrap.servers": address,
        "security.protocol": settings.security_protocol,
        "sasl.mechanism": settings.sasl_mechanism,
        "sasl.username": settings.sasl_username,
        "sasl.password": password.get_secret_value() if password else None,
        "ssl.ca.location": _text(settings.ssl_ca_file),
        "ssl.certificate.location": _text(settings.ssl_certificate_file),
        "ssl.key.location": _text(settings.ssl_key_file),
        "client.id": "gemsbok",
        "reconnect.backoff.ms": 50,
        "reconnect.backoff.max.ms": 1000,
        "logger": logger,
    }
    return {name: value for name, value in properties.items() if value is not None}


def _text(path: object) -> str | None:
    return None if path is None else str(path)


def _unsigned(topic_id: Any) -> int:
    mask = (1 << 64) - 1
    most, least = topic_id.get_most_significant_bits(), topic_id.get_least_significant_bits()
    return (int(most) & mask) << 64 | int(least) & mask
