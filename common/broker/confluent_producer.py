"""Writes records with confluent-kafka."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer

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

_POLL_SECONDS = 0.1

_log = logging.getLogger(__name__)

# Errors after which the record is certainly not in the topic; after any other it may be.
_REFUSED = {
    KafkaError.MSG_SIZE_TOO_LARGE,
    KafkaError.RECORD_LIST_TOO_LARGE,
    KafkaError.INVALID_MSG,
    KafkaError.INVALID_RECORD,
    KafkaError.INVALID_MSG_SIZE,
    KafkaError.POLICY_VIOLATION,
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError.NOT_ENOUGH_REPLICAS,
    KafkaError.INVALID_REQUIRED_ACKS,
    KafkaError._UNKNOWN_TOPIC,
    KafkaError._UNKNOWN_PARTITION,
    KafkaError._INVALID_ARG,
    KafkaError._PURGE_QUEUE,
}


class ConfluentProducer(KafkaProducer):
    """Writes records; a thread of its own takes the acknowledgements.

    Parameters
    ----------
    broker : Broker
        Knows the topics.
    config : mapping
        Connection, as librdkafka's properties.
    delivery_timeout : float
        Seconds until an unacknowledged record counts as failed.
    """

    def __init__(self, broker: Broker, config: Mapping[str, Any], delivery_timeout: float) -> None:
        super().__init__(broker)
        self._producer = Producer(_producer_config(config, delivery_timeout))
        self._tally = _Tally()
        self._unfinished: list[_Tally] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="producer", daemon=True)
        self._thread.start()

    def flush(self, timeout: float = 30.0) -> None:
        """Wait until every record sent so far is acknowledged."""
        with self._lock:
            self._unfinished.append(self._tally)
            self._tally = _Tally()
            waiting = list(self._unfinished)
        deadline = time.monotonic() + timeout
        for tally in waiting:
            tally.wait(deadline, timeout)
        with self._lock:
            self._unfinished = [tally for tally in self._unfinished if tally not in waiting]
        _raise_failures(waiting)

    def send_all(
        self, topic: str, records: Iterable[tuple[str | None, str]], timeout: float = 30.0
    ) -> int:
        """Send (key, value) pairs and wait until they are acknowledged; thread-safe."""
        self._check(topic)
        tally = _Tally()
        try:
            for key, value in records:
                self._produce(topic, key, value, tally)
        except BrokerError as error:
            error.outcome_unknown = error.outcome_unknown or tally.sent > 0
            raise
        tally.wait(time.monotonic() + timeout, timeout)
        _raise_failures([tally])
        return tally.sent

    def close(self) -> None:
        """Flush the queue, for a few seconds at most, and disconnect."""
        n_unsent = self._producer.flush(CLOSE_SECONDS)
        if n_unsent:
            _log.warning("a producer was closed with %d records unacknowledged", n_unsent)
        self._stop.set()
        self._thread.join()

    def _queue(self, topic: str, key: str | None, value: str | bytes, headers: Headers) -> None:
        try:
            self._produce(topic, key, value, self._tally, headers)
        except BrokerError as error:
            self._tally.refused.append(error)

    def _produce(
        self, topic: str, key: str | None, value: str | bytes, tally: _Tally, headers: Headers = ()
    ) -> None:
        own: Any = list(headers) or None
        while True:
            try:
                self._producer.produce(topic, value, key, on_delivery=tally, headers=own)
                tally.sent += 1
                return
            except BufferError:
                # The queue is full.  Records leave it when they are acknowledged or have reached
                # their delivery timeout.
                time.sleep(0.005)
            except KafkaException as error:
                raise _translated(error.args[0]) from error

    def _serve(self) -> None:
        while not self._stop.is_set():
            self._producer.poll(_POLL_SECONDS)


class _Tally:
    """Counts the records of one or more sends and their acknowledgements.

    The sending thread writes `sent` and `refused`, the producer's thread the other fields, so
    that neither needs a lock.
    """

    def __init__(self) -> None:
        self.sent = 0
        self.refused: list[BrokerError] = []
        self.failed = 0
        self.failure: BrokerError | None = None
        self._done = 0
        self._awaited = -1
        self._finished = threading.Event()

    def __call__(self, error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            self.failed += 1
            self.failure = self.failure or _translated(error)
        self._done += 1
        if self._done == self._awaited:
            self._finished.set()

    def wait(self, deadline: float, seconds: float) -> None:
        self._awaited = self.sent
        # Compared after `_awaited` is set: from then on the last acknowledgement sets the event.
        if self._done >= self.sent:
            return
        if not self._finished.wait(max(deadline - time.monotonic(), 0)):
            raise unacknowledged(self.sent - self._done, seconds)


def _raise_failures(tallies: Sequence[_Tally]) -> None:
    failures = [error for tally in tallies for error in tally.refused]
    failures += [tally.failure for tally in tallies if tally.failure is not None]
    if failures:
        failed = sum(tally.failed + len(tally.refused) for tally in tallies)
        written = sum(tally.sent - tally.failed for tally in tallies)
        raise undelivered(failed, written, failures[0])


def _translated(error: KafkaError) -> BrokerError:
    refused = error.code() in _REFUSED
    message = f"{error.str()} ({error.name()})"
    return BrokerError(
        message, retriable=error.retriable() or not refused, outcome_unknown=not refused
    )


def _producer_config(config: Mapping[str, Any], delivery_timeout: float) -> dict[str, Any]:
    return {
        **config,
        **PRODUCER,
        # Java's partitioner; records without a key go anywhere.
        "partitioner": "murmur2_random",
        "message.max.bytes": MAX_MESSAGE_BYTES,
        "message.timeout.ms": int(delivery_timeout * 1000),
        "queue.buffering.max.messages": QUEUE_RECORDS,
        "queue.buffering.max.kbytes": QUEUE_BYTES // 1024,
    }
