"""The broker protocol with kafka-python: pure Python, a required dependency."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Any

from kafka import KafkaAdminClient, TopicPartition, errors
from kafka.admin import OffsetSpec

from common.broker.api import BrokerError, Position, TopicInfo
from common.broker.failures import unknown_topic, unreachable
from common.broker.kafka_python_producer import KafkaPythonProducer
from common.broker.kafka_python_reader import KafkaPythonReader
from common.broker.limits import RECEIVE_BYTES
from common.broker.retry import retry, wait_for
from common.config import BrokerClient

_DISCONNECTED = (
    errors.KafkaConnectionError,
    errors.KafkaTimeoutError,
    errors.RequestTimedOutError,
    errors.BrokerNotAvailableError,
    errors.MetadataEmptyBrokerList,
    errors.Cancelled,
)


class KafkaPythonBroker:
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
            return KafkaPythonProducer(self._config, self._settings, self.topic)

    def reader(self, topic: str, start: Position = "earliest") -> KafkaPythonReader:
        """Open a reader of all partitions of `topic`."""
        with self._translated():
            return KafkaPythonReader(self, self._config, topic, start)

    def topic(self, name: str) -> TopicInfo | None:
        """Describe a topic; None if it does not exist."""
        description = self._describe(name)
        if description["error_code"] == errors.UnknownTopicOrPartitionError.errno:
            return None
        with self._translated():
            _raise_for(description["error_code"])
        return TopicInfo(name, str(description["topic_id"]), len(description["partitions"]))

    def create_topic(
        self, name: str, partitions: int, config: Mapping[str, str] | None = None
    ) -> bool:
        """Create a topic and wait until it can be used; False if it exists."""
        options = {"num_partitions": partitions, "configs": dict(config or {})}
        try:
            self._ask(lambda admin: admin.create_topics({name: options}))
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
            self._ask(lambda admin: admin.delete_topics([name]))
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
        return self._offsets(topic, OffsetSpec.EARLIEST)

    def end_offsets(self, topic: str) -> dict[int, int]:
        """Return for each partition the offset that the next record gets."""
        return self._offsets(topic, OffsetSpec.LATEST)

    def offsets_at(self, topic: str, timestamp: int) -> dict[int, int]:
        """For each partition, the first offset with a record not older than `timestamp` (ms)."""
        end = self.end_offsets(topic)
        at = self._offsets(topic, timestamp)
        return {p: end[p] if offset < 0 else offset for p, offset in at.items()}

    def cluster_id(self) -> str:
        """Return the cluster's identity."""
        return str(self._ask(lambda admin: admin.describe_cluster())["cluster_id"])

    def close(self) -> None:
        """Disconnect."""
        with self._lock:
            self._admin.close()

    def __enter__(self) -> KafkaPythonBroker:
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

    def _ask(self, request: Callable[[Any], Any]) -> Any:
        """Send a request to the cluster; retry for up to ``connect_timeout_seconds``."""

        def attempt() -> Any:
            with self._lock, self._translated():
                return request(self._admin)

        return retry(attempt, self._limit)

    def _describe(self, topic: str) -> dict[str, Any]:
        description: dict[str, Any] = self._ask(lambda admin: admin.describe_topics([topic])[0])
        return description

    def _offsets(self, topic: str, spec: Any) -> dict[int, int]:
        info = self.topic(topic)
        if info is None:
            raise unknown_topic(topic)
        specs = {TopicPartition(topic, p): spec for p in range(info.partitions)}
        offsets = self._ask(lambda admin: admin.list_partition_offsets(specs))
        return {at.partition: found.offset for at, found in sorted(offsets.items())}

    def _has_leaders(self, topic: str) -> bool:
        description = self._describe(topic)
        partitions = description["partitions"]
        return bool(partitions) and all(partition["leader_id"] >= 0 for partition in partitions)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except errors.NodeNotReadyError as error:
            # The error's text is about the client's internals and is not shown.
            raise unreachable(self._address, self._limit) from error
        except _DISCONNECTED as error:
            raise unreachable(self._address, self._limit, error) from error
        except errors.UnknownTopicOrPartitionError as error:
            raise _UnknownTopic(str(error)) from error
        except errors.TopicAlreadyExistsError as error:
            raise _TopicExists(str(error)) from error
        except errors.KafkaError as error:
            message = f"the broker at {self._address} refused: {error}"
            raise BrokerError(message, retriable=error.retriable) from error


class _UnknownTopic(BrokerError):
    """The broker knows no such topic."""


class _TopicExists(BrokerError):
    """The broker has a topic of this name."""


def client_config(address: str, settings: BrokerClient) -> dict[str, Any]:
    """Return the arguments that all our kafka-python clients share.

    The library's logger is silent unless a level is set on it: its lines about each connection
    attempt would flood a terminal.
    """
    logger = logging.getLogger("kafka")
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.CRITICAL)
    password = settings.sasl_password
    properties = {
        "bootstrap_servers": address.split(","),
        "bootstrap_timeout_ms": int(settings.connect_timeout_seconds * 1000),
        "security_protocol": settings.security_protocol,
        "sasl_mechanism": settings.sasl_mechanism,
        "sasl_plain_username": settings.sasl_username,
        "sasl_plain_password": password.get_secret_value() if password else None,
        "ssl_cafile": _text(settings.ssl_ca_file),
        "ssl_certfile": _text(settings.ssl_certificate_file),
        "ssl_keyfile": _text(settings.ssl_key_file),
        "client_id": "gemsbok",
        "reconnect_backoff_ms": 50,
        "reconnect_backoff_max_ms": 1000,
        "receive_message_max_bytes": RECEIVE_BYTES,
    }
    return {name: value for name, value in properties.items() if value is not None}


def _text(path: object) -> str | None:
    return None if path is None else str(path)


def _raise_for(code: int) -> None:
    error = errors.for_code(code)
    if error is not errors.NoError:
        raise error
