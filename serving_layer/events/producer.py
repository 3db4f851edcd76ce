"""A producer that connects when it is first needed, so that serving starts without a broker."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence

from common.broker import Broker, Producer


class LazyProducer:
    """A :class:`common.broker.Producer` that opens its connection at the first use.

    Parameters
    ----------
    connect : callable
        Opens the input topic's broker; called again at the next use if it fails.
    """

    def __init__(self, connect: Callable[[], Broker]) -> None:
        self._connect = connect
        self._lock = threading.Lock()
        self._broker: Broker | None = None
        self._producer: Producer | None = None

    def send(
        self,
        topic: str,
        key: str | None,
        value: str | bytes,
        headers: Sequence[tuple[str, bytes]] = (),
    ) -> None:
        """Queue one record."""
        self._open().send(topic, key, value, headers)

    def flush(self, timeout: float = 30.0) -> None:
        """Wait until every record sent so far is acknowledged."""
        if self._producer is not None:
            self._producer.flush(timeout)

    def send_all(
        self, topic: str, records: Iterable[tuple[str | None, str]], timeout: float = 30.0
    ) -> int:
        """Send (key, value) pairs and wait for their acknowledgement."""
        return self._open().send_all(topic, records, timeout)

    def close(self) -> None:
        """Flush for a few seconds at most and disconnect."""
        if self._producer is not None:
            self._producer.close()
        if self._broker is not None:
            self._broker.close()

    def _open(self) -> Producer:
        with self._lock:
            if self._producer is None:
                self._broker = self._connect()
                self._producer = self._broker.producer()
            return self._producer
