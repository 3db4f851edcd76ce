"""Checks every few seconds whether a topic that is read was extended or deleted."""

from __future__ import annotations

import logging
import threading

from common.broker.api import Broker, BrokerError
from common.broker.failures import deleted

INTERVAL_SECONDS = 3.0

_log = logging.getLogger(__name__)


class TopicWatch:
    """Finds out for a reader which partitions were added and whether its topic was deleted.

    A thread of its own asks the broker, so that a broker that does not answer delays no poll.
    When the broker stops answering, and when it answers again, one line is logged.

    Parameters
    ----------
    broker : Broker
        Has the topic.
    topic, topic_id : str
        Name and id of the topic when reading began.
    partitions : int
        How many it had then.
    interval_seconds : float
        Between two looks.
    """

    def __init__(
        self,
        broker: Broker,
        topic: str,
        topic_id: str,
        partitions: int,
        interval_seconds: float = INTERVAL_SECONDS,
    ) -> None:
        self._broker = broker
        self._topic = topic
        self._topic_id = topic_id
        self._partitions = partitions
        self._interval = interval_seconds
        self._added: dict[int, int] = {}
        self._deleted = False
        self._silent = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"watch-{topic}", daemon=True)
        self._thread.start()

    def added(self) -> dict[int, int]:
        """Return the oldest offset of each partition that was added since the last call.

        Raises
        ------
        BrokerError
            If the topic was deleted, even if it was recreated under the same name.
        """
        if self._deleted:
            raise deleted(self._topic)
        if not self._added:
            return {}
        added, self._added = self._added, {}
        return added

    def close(self) -> None:
        """Stop the thread, without waiting for a request in progress."""
        self._stop.set()

    def _run(self) -> None:
        while not self._deleted and not self._stop.wait(self._interval):
            try:
                self._check()
            except BrokerError as error:
                self._note_silence(error)

    def _check(self) -> None:
        info = self._broker.topic(self._topic)
        if self._silent:
            _log.warning("the broker answers again; reading of topic %r goes on", self._topic)
            self._silent = False
        if info is None or info.topic_id != self._topic_id:
            self._deleted = True
        elif info.partitions > self._partitions:
            begin = self._broker.begin_offsets(self._topic)
            self._added = {p: at for p, at in begin.items() if p >= self._partitions}
            self._partitions = len(begin)

    def _note_silence(self, error: BrokerError) -> None:
        if not self._silent and not self._stop.is_set():
            _log.warning("reading of topic %r waits for its broker: %s", self._topic, error)
            self._silent = True
