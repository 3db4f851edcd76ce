"""Writes records with kafka-python."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any

import kafka
from kafka import errors

from common.broker.api import MAX_MESSAGE_BYTES, Broker, BrokerError
from common.broker.failures import unacknowledged, undelivered
from common.broker.kafka_clients import (
    CLOSE_SECONDS,
    PRODUCER,
    QUEUE_BYTES,
    QUEUE_RECORDS,
    Headers,
    KafkaProducer,
)
from common.config import BrokerClient

BATCH_BYTES = 256 * 1024
#: After so many records those that are finished are let go.
LOOK_EVERY = 256

_log = logging.getLogger(__name__)


class KafkaPythonProducer(KafkaProducer):
    """Writes records; the client's own thread sends them.

    When the broker refuses a record, the client fails all records in flight, sent or not, and
    accepts no more; this class then replaces the client.  The outcome of failed records is
    therefore unknown more often than with confluent-kafka.

    Parameters
    ----------
    broker : Broker
        Knows the topics.
    config : mapping
        Connection, as kafka-python's arguments.
    settings : BrokerClient
        Time limits.
    """

    def __init__(self, broker: Broker, config: Mapping[str, Any], settings: BrokerClient) -> None:
        super().__init__(broker)
        self._delivery_seconds = settings.delivery_timeout_seconds
        self._config = _producer_config(config, settings)
        self._producer = kafka.KafkaProducer(**self._config)
        self._replacing = threading.Lock()
        self._sent = _Sent(self._delivery_seconds)

    def flush(self, timeout: float = 30.0) -> None:
        """Wait until every record sent so far is acknowledged."""
        with self._lock:
            self._wait(self._sent, timeout)

    def send_all(
        self, topic: str, records: Iterable[tuple[str | None, str]], timeout: float = 30.0
    ) -> int:
        """Send (key, value) pairs and wait until they are acknowledged; thread-safe."""
        self._check(topic)
        sent = _Sent(self._delivery_seconds)
        for key, value in records:
            self._produce(topic, key, value, sent)
        self._wait(sent, timeout)
        return sent.total

    def close(self) -> None:
        """Flush the queue, for a few seconds at most, and disconnect."""
        _close(self._producer, CLOSE_SECONDS)

    def _queue(self, topic: str, key: str | None, value: str | bytes, headers: Headers) -> None:
        self._produce(topic, key, value, self._sent, headers)

    def _produce(
        self, topic: str, key: str | None, value: str | bytes, sent: _Sent, headers: Headers = ()
    ) -> None:
        data = value.encode() if isinstance(value, str) else value
        name = None if key is None else key.encode()
        while True:
            producer = self._producer
            try:
                future = producer.send(topic, data, name, list(headers))
            except errors.KafkaError as error:
                if producer is not self._producer:
                    # Another thread has replaced the client: try again with the new one.
                    continue
                sent.refuse(error)
            else:
                sent.add(future, len(data), producer)
            return

    def _wait(self, sent: _Sent, timeout: float) -> None:
        try:
            sent.wait(timeout)
        finally:
            while sent.broken:
                self._replace(sent.broken.pop())

    def _replace(self, broken: kafka.KafkaProducer) -> None:
        with self._replacing:
            if self._producer is broken:
                self._producer = kafka.KafkaProducer(**self._config)
                _close(broken, 0)


class _Sent:
    """The queue of records in flight, oldest first, and the failures of finished records.

    The client's own queue is unbounded; adding to this one blocks while it is full.
    """

    def __init__(self, delivery_seconds: float) -> None:
        self.total = 0
        self.broken: set[kafka.KafkaProducer] = set()
        self._failures: list[BrokerError] = []
        self._waiting: deque[tuple[Any, int, kafka.KafkaProducer]] = deque()
        self._bytes = 0
        self._delivery_seconds = delivery_seconds

    def add(self, future: Any, size: int, producer: kafka.KafkaProducer) -> None:
        self.total += 1
        self._waiting.append((future, size, producer))
        self._bytes += size
        if self.total % LOOK_EVERY == 0 or self._bytes > QUEUE_BYTES:
            self._make_room()

    def refuse(self, error: errors.KafkaError) -> None:
        """Record the failure of a record that the client did not queue."""
        self.total += 1
        self._failures.append(BrokerError(str(error), retriable=error.retriable))

    def wait(self, timeout: float) -> None:
        """Wait for all records; raise an error for those that failed since the last call."""
        deadline = time.monotonic() + timeout
        while self._waiting:
            if not self._finish_oldest(max(deadline - time.monotonic(), 0)):
                raise unacknowledged(len(self._waiting), timeout)
        failures, self._failures = self._failures, []
        total, self.total = self.total, 0 if failures else self.total
        if failures:
            raise undelivered(len(failures), total - len(failures), failures[0])

    def _make_room(self) -> None:
        while self._waiting and self._waiting[0][0].is_done:
            self._finish_oldest(0)
        while len(self._waiting) > QUEUE_RECORDS or self._bytes > QUEUE_BYTES:
            if not self._finish_oldest(self._delivery_seconds):
                raise unacknowledged(len(self._waiting), self._delivery_seconds)

    def _finish_oldest(self, seconds: float) -> bool:
        """Wait for the oldest record and record its failure; False if `seconds` pass first."""
        future, size, producer = self._waiting[0]
        if not future.is_done:
            with contextlib.suppress(errors.KafkaError):
                future.get(seconds)
            if not future.is_done:
                return False
        if future.failed():
            self._note(future.exception, producer)
        self._waiting.popleft()
        self._bytes -= size
        return True

    def _note(self, error: errors.KafkaError, producer: kafka.KafkaProducer) -> None:
        if not error.retriable:
            self.broken.add(producer)
        self._failures.append(BrokerError(str(error), retriable=True, outcome_unknown=True))


def _close(producer: kafka.KafkaProducer, seconds: float) -> None:
    """Close a client for good, with records that it cannot deliver too.

    The client's own `close` leaves its thread running if records are not delivered in time.
    """
    try:
        producer.flush(seconds)
    except errors.KafkaTimeoutError:
        _log.warning("a producer was closed before all of its records were acknowledged")
        producer._sender.force_close()
        producer._sender.join(CLOSE_SECONDS)
    producer.close(CLOSE_SECONDS)


def _producer_config(config: Mapping[str, Any], settings: BrokerClient) -> dict[str, Any]:
    delivery_ms = int(settings.delivery_timeout_seconds * 1000)
    return {
        **config,
        **arguments(PRODUCER),
        "batch_size": BATCH_BYTES,
        "max_request_size": MAX_MESSAGE_BYTES,
        "delivery_timeout_ms": delivery_ms,
        # Half the delivery timeout, so that an unanswered request is sent once more in time.
        "request_timeout_ms": delivery_ms // 2,
        "max_block_ms": int(settings.connect_timeout_seconds * 1000),
        "allow_auto_create_topics": False,
        "metrics_enabled": False,
    }


#: Where its arguments are not Kafka's properties with underscores.
_NAMES = {
    "sasl.username": "sasl_plain_username",
    "sasl.password": "sasl_plain_password",
    "ssl.ca.location": "ssl_cafile",
    "ssl.certificate.location": "ssl_certfile",
    "ssl.key.location": "ssl_keyfile",
}


def arguments(properties: Mapping[str, Any]) -> dict[str, Any]:
    """Return properties as the client's arguments."""
    return {_NAMES.get(n, n.replace(".", "_")): value for n, value in properties.items()}
