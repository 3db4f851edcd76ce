"""The half that both Kafka clients share: properties, errors that pass, topics, positions.

``confluent`` and ``kafka_python`` add what is their client's own: how it is asked, and what it
makes of records, acknowledgements and errors.
"""

from __future__ import annotations

import logging
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Literal, TypeVar

from common.broker.api import (
    MAX_MESSAGE_BYTES,
    Broker,
    BrokerError,
    Position,
    Producer,
    Reader,
    Record,
    TopicInfo,
    start_offsets,
)
from common.broker.failures import out_of_range, unknown_topic
from common.broker.watch import INTERVAL_SECONDS, TopicWatch
from common.config import BrokerClient

T = TypeVar("T")
Headers = Sequence[tuple[str, bytes]]
#: An offset to look up: either end of a partition, or the first record of a time (ms).
At = Literal["earliest", "latest"] | int

#: What one answer to a fetch may hold; one record more than this is still delivered.
FETCH_BYTES = 32 * 1024 * 1024
#: A single answer with a record of the greatest size must fit in.
RECEIVE_BYTES = 2 * MAX_MESSAGE_BYTES
#: Records wait this long for company before they are sent.
LINGER_MS = 1
#: A producer's queue; sending blocks while it is full.
QUEUE_RECORDS = 100_000
QUEUE_BYTES = 256 * 1024 * 1024
#: Seconds that closing a producer waits for its records.
CLOSE_SECONDS = 5.0

#: Properties of every producer, by Kafka's names.  Nothing is compressed: over loopback lz4 writes
#: no faster than none and gzip at 40 % of its rate.
PRODUCER: Mapping[str, Any] = {
    "acks": "all",
    "enable.idempotence": True,
    "linger.ms": LINGER_MS,
}
#: Properties of every consumer.
CONSUMER: Mapping[str, Any] = {
    "enable.auto.commit": False,
    "isolation.level": "read_committed",
    "allow.auto.create.topics": False,
    "fetch.max.bytes": FETCH_BYTES,
    "max.partition.fetch.bytes": FETCH_BYTES // 4,
}

# Numbers of Kafka's protocol.
_UNKNOWN_TOPIC = 3
_TOPIC_EXISTS = 36
# What passes by itself: leaders move, or are not elected yet; disks and quotas recover.
_PASSING = {
    5,  # leader not available
    6,  # not the leader
    9,  # replica not available
    13,  # network exception
    41,  # not the controller
    56,  # storage error
    74,  # fenced leader epoch
    75,  # unknown leader epoch
    78,  # offset not available
    89,  # throttling quota exceeded
}
_PAUSE_SECONDS = 0.02


class UnknownTopicError(BrokerError):
    """The broker knows no such topic."""


class TopicExistsError(BrokerError):
    """The broker has a topic of this name."""


def connection(settings: BrokerClient) -> dict[str, Any]:
    """Return what every connection needs besides the address, by librdkafka's names."""
    password = settings.sasl_password
    files = {
        "ssl.ca.location": settings.ssl_ca_file,
        "ssl.certificate.location": settings.ssl_certificate_file,
        "ssl.key.location": settings.ssl_key_file,
    }
    given = {
        "client.id": "gemsbok",
        "reconnect.backoff.ms": 50,
        "reconnect.backoff.max.ms": 1000,
        "security.protocol": settings.security_protocol,
        "sasl.mechanism": settings.sasl_mechanism,
        "sasl.username": settings.sasl_username,
        "sasl.password": password.get_secret_value() if password else None,
        **{name: str(path) if path else None for name, path in files.items()},
    }
    return {name: value for name, value in given.items() if value is not None}


def quiet_logger(name: str) -> logging.Logger:
    """Return a client's logger, silent unless somebody has given it a level.

    Its lines about each attempt to connect would flood a terminal.
    """
    logger = logging.getLogger(name)
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.CRITICAL)
    return logger


class KafkaBroker(Broker, ABC):
    """A connection to one cluster.

    Parameters
    ----------
    address : str
        ``host:port[,host:port]``.
    settings : BrokerClient
        Time limits and security.
    watch_seconds : float
        How often a reader looks whether its topic has changed.

    Raises
    ------
    BrokerError
        If no broker answers within ``connect_timeout_seconds``.
    """

    def __init__(
        self, address: str, settings: BrokerClient, watch_seconds: float = INTERVAL_SECONDS
    ) -> None:
        self._address = address
        self._settings = settings
        self._watch_seconds = watch_seconds
        self._limit = settings.connect_timeout_seconds

    @abstractmethod
    def producer(self) -> Producer:
        """Open a producer."""

    @abstractmethod
    def reader(self, topic: str, start: Position = "earliest") -> Reader:
        """Open a reader of all partitions of `topic`."""

    def topic(self, name: str) -> TopicInfo | None:
        """Describe a topic; None where there is none of this name."""
        try:
            topic_id, leaders = self._ask(lambda: self._describe(name))
        except UnknownTopicError:
            return None
        return TopicInfo(name, topic_id, len(leaders))

    def create_topic(
        self, name: str, partitions: int, config: Mapping[str, str] | None = None
    ) -> bool:
        """Create a topic and wait until it can be used; False if it exists."""
        try:
            self._ask(lambda: self._create(name, partitions, dict(config or {})))
        except TopicExistsError:
            return False
        self._wait_for(lambda: self._has_leaders(name), f"topic {name!r} to appear")
        return True

    def delete_topic(self, name: str) -> bool:
        """Delete a topic, waiting until it is gone; False if there is none."""
        try:
            self._ask(lambda: self._delete(name))
        except UnknownTopicError:
            return False
        self._wait_for(lambda: self.topic(name) is None, f"topic {name!r} to disappear")
        return True

    def begin_offsets(self, topic: str) -> dict[int, int]:
        """For each partition the oldest offset that can still be read."""
        return self._look_up(topic, "earliest")

    def end_offsets(self, topic: str) -> dict[int, int]:
        """For each partition the offset that the next record will get."""
        return self._look_up(topic, "latest")

    def offsets_at(self, topic: str, timestamp: int) -> dict[int, int]:
        """For each partition the first offset whose record is not older than `timestamp` (ms)."""
        end = self.end_offsets(topic)
        found = self._look_up(topic, timestamp)
        return {p: end[p] if offset < 0 else offset for p, offset in found.items()}

    def cluster_id(self) -> str:
        """Return the cluster's identity."""
        return self._ask(self._describe_cluster)

    @abstractmethod
    def close(self) -> None:
        """Disconnect."""

    # -- the client's own, called while the broker is asked ------------------------------

    @abstractmethod
    def _asking(self) -> AbstractContextManager[None]:
        """Turn the client's errors into :class:`BrokerError`, of a refusal by :meth:`_refused`."""

    @abstractmethod
    def _describe(self, topic: str) -> tuple[str, Sequence[int]]:
        """Return the topic's id, and the leader of each partition, below 0 where it has none."""

    @abstractmethod
    def _create(self, topic: str, partitions: int, config: dict[str, str]) -> None: ...

    @abstractmethod
    def _delete(self, topic: str) -> None: ...

    @abstractmethod
    def _offsets(self, topic: str, partitions: range, at: At) -> dict[int, int]:
        """Return an offset of each partition, below 0 where no record is as new as `at`."""

    @abstractmethod
    def _describe_cluster(self) -> str: ...

    # ------------------------------------------------------------------------------------

    def _ask(self, question: Callable[[], T]) -> T:
        """Put a question to the cluster, again while the error is one that passes.

        A topic that was just created has no leader yet, or not everywhere.
        """
        deadline = time.monotonic() + self._limit
        while True:
            try:
                with self._asking():
                    return question()
            except BrokerError as error:
                if not error.retriable or time.monotonic() > deadline:
                    raise
            time.sleep(_PAUSE_SECONDS)

    def _look_up(self, topic: str, at: At) -> dict[int, int]:
        partitions = range(existing(self, topic).partitions)
        return self._ask(lambda: self._offsets(topic, partitions, at))

    def _has_leaders(self, topic: str) -> bool:
        try:
            _, leaders = self._ask(lambda: self._describe(topic))
        except UnknownTopicError:
            return False
        return bool(leaders) and min(leaders) >= 0

    def _wait_for(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + self._limit
        while not condition():
            if time.monotonic() > deadline:
                message = f"waited {self._limit:g} s for {what} at {self._address}"
                raise BrokerError(message, retriable=True)
            time.sleep(_PAUSE_SECONDS)

    def _refused(self, text: str, code: int | None, passing: bool = False) -> BrokerError:
        """Return the error for a refusal by its number in Kafka's protocol.

        One of the client's own has none; `passing` says whether it passes by itself.
        """
        if code == _UNKNOWN_TOPIC:
            return UnknownTopicError(text)
        if code == _TOPIC_EXISTS:
            return TopicExistsError(text)
        message = f"the broker at {self._address} refused: {text}"
        return BrokerError(message, retriable=passing or code in _PASSING)


def existing(broker: Broker, topic: str) -> TopicInfo:
    """Describe a topic; raises BrokerError where there is none."""
    found = broker.topic(topic)
    if found is None:
        raise unknown_topic(topic)
    return found


class KafkaProducer(ABC):
    """Writes records; the broker is asked once for each topic that is written to."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._topics: set[str] = set()
        self._lock = threading.Lock()

    def send(self, topic: str, key: str | None, value: str | bytes, headers: Headers = ()) -> None:
        """Queue one record; blocks while the queue is full."""
        self._check(topic)
        with self._lock:
            self._queue(topic, key, value, headers)

    @abstractmethod
    def _queue(self, topic: str, key: str | None, value: str | bytes, headers: Headers) -> None:
        """Hand one record to the client; the lock is held."""

    def _check(self, topic: str) -> None:
        """Refuse an unknown topic at once: the client would wait half a minute for it to appear."""
        if topic not in self._topics:
            existing(self._broker, topic)
            self._topics.add(topic)


class KafkaReader(ABC):
    """Reads all partitions of one topic; partitions that are added later too.

    While the broker is away polls return nothing, and the reader goes on once it is back.

    Parameters
    ----------
    broker : Broker
        Asked for offsets and for changes of the topic.
    consumer : callable
        Connects a consumer of the client's.
    topic : str
        What is read.
    start : Position
        Where reading starts.
    watch_seconds : float
        How often the topic is looked at for changes.
    """

    def __init__(
        self,
        broker: Broker,
        consumer: Callable[[], Any],
        topic: str,
        start: Position,
        watch_seconds: float,
    ) -> None:
        info = existing(broker, topic)
        self._broker = broker
        self._topic = topic
        self._at = start_offsets(broker, topic, start)
        self._consumer = consumer()
        self._assign(self._at)
        self._watch = TopicWatch(broker, topic, info.topic_id, len(self._at), watch_seconds)

    def poll(self, timeout: float = 1.0, max_records: int = 5000) -> Sequence[Record]:
        """Return the next records in order of each partition; empty after `timeout` seconds.

        Raises
        ------
        BrokerError
            If a position is out of range, the topic was deleted, or it may not be read.
        """
        added = self._watch.added()
        if added:
            self._at.update(added)
            self._assign(added)
        return self._fetch(timeout, max_records)

    def positions(self) -> dict[int, int]:
        """For each partition the offset that will be read next."""
        return dict(self._at)

    def close(self) -> None:
        """Disconnect."""
        self._watch.close()
        self._consumer.close()

    @abstractmethod
    def _assign(self, added: Mapping[int, int]) -> None:
        """Have the consumer read these partitions too, from their offsets."""

    @abstractmethod
    def _fetch(self, timeout: float, max_records: int) -> Sequence[Record]:
        """Return what has come, and move the positions past it."""

    def _unreadable(self, reason: str) -> BrokerError:
        return BrokerError(f"topic {self._topic!r} cannot be read: {reason}")

    def _out_of_range(self, partition: int, position: int) -> BrokerError:
        begin = self._broker.begin_offsets(self._topic)[partition]
        end = self._broker.end_offsets(self._topic)[partition]
        return out_of_range(self._topic, partition, position, (begin, end))
