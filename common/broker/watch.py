"""Looks every few seconds whether a topic that is read has changed."""

from __future__ import annotations

import logging
import threading

from common.broker.api import Broker, BrokerError
from common.broker.failures import deleted

INTERVAL_SECONDS = 3.0

_log = logging.getLogger(__name__)


class TopicWatch:
    """Tells a reader of partitions that were added, and of its topic's end.

    It asks in a thread of its own, so that a broker that does not answer delays no poll; that
    it does not, and that it does again, is logged once each.

    Parameters
    ----------
    broker : Broker
        Asked for the topic.
    topic, topic_id : str
        The topic as it was when reading began.
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
        """Return the first offsets of partitions that were added since the last call.

        Raises
        ------
        BrokerError
            If the topic was deleted, even if there is another of its name now.
        """
        if self._deleted:
            raise deleted(self._topic)
        if not self._added:
            return {}
        added, self._added = self._added, {}
        return added

    def close(self) -> None:
        """Stop looking; a question that is under way is not waited for."""
        self._stop.set()

    def _run(self) -> None:
        while not self._deleted and not self._stop.wait(self._interval):
            try:
                self._look()
            except BrokerError as error:
                self._note_silence(error)

    def _look(self) -> None:
        found = self._broker.topic(self._topic)
        if self._silent:
            _log.warning("the broker answers again; reading of topic %r goes on", self._topic)
            self._silent = False
        if found is None or found.topic_id != self._topic_id:
            self._deleted = True
        elif found.partitions > self._partitions:
            begin = self._broker.begin_offsets(self._topic)
            self._added = {p: at for p, at in begin.items() if p >= self._partitions}
            self._partitions = len(begin)

    def _note_silence(self, error: BrokerError) -> None:
        if not self._silent and not self._stop.is_set():
            _log.warning("reading of topic %r waits for its broker: %s", self._topic, error)
            self._silent = True
