"""Following the update topic on a thread of its own: what the speed and the serving layer share."""

from __future__ import annotations

import logging
import threading
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack

from common.broker import Broker, BrokerError, Record
from common.replica.updates import start_position
from common.store.generations import Generation, ModelStore, StoreError
from common.wire.messages import Message, MessageError

log = logging.getLogger(__name__)


class TopicFollower(ABC):
    """Reads the update topic from the newest stored generation on, and hands its messages over.

    One thread reads.  A broker or a store that does not answer is tried again; a record that
    cannot be used is set aside, and the next one is read.

    Parameters
    ----------
    app : str
        The family; generations of others are passed over.
    topic : str
        The update topic.
    store : ModelStore
        The generations.
    connect : callable
        Opens the update topic's broker; called again after a failure.
    counts : Counter, optional
        What was seen, refused and passed over, by name.
    retry_seconds : float
        Between a failure of the broker or the store and the next try.

    Attributes
    ----------
    positions : dict of int to int
        For each partition the offset that is read next; empty before the first connection.
    connected : bool
        Whether the broker answers.
    failure : Exception or None
        What has ended the thread.
    """

    def __init__(
        self,
        app: str,
        topic: str,
        store: ModelStore,
        connect: Callable[[], Broker],
        counts: Counter[str] | None = None,
        retry_seconds: float = 1.0,
    ) -> None:
        self._app = app
        self._topic = topic
        self._store = store
        self._connect = connect
        self._retry_seconds = retry_seconds
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="update-topic", daemon=True)
        self.counts: Counter[str] = Counter() if counts is None else counts
        self.positions: dict[int, int] = {}
        self.connected = False
        self.failure: Exception | None = None

    def start(self) -> None:
        """Start to follow the topic."""
        self._thread.start()

    def close(self) -> None:
        """Stop, waiting for the thread."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=10)

    # -- what a layer does with it --------------------------------------------------------

    @abstractmethod
    def take(self, message: Message, record: Record) -> None:
        """Take one message; raises MessageError or StoreError where it cannot be used."""

    @abstractmethod
    def take_stored(self, generation: Generation) -> None:
        """Take the newest generation of the store; raises as :meth:`take`."""

    @abstractmethod
    def opened(self, broker: Broker, held: ExitStack) -> None:
        """Prepare for a new connection, before any record of it.

        Parameters
        ----------
        broker : Broker
            The connection.
        held : ExitStack
            Closes what is put on it when the connection ends.
        """

    @abstractmethod
    def after_poll(self) -> None:
        """Do what is due after each poll, also one without records."""

    def set_aside(self, record: Record, code: str, reason: object) -> None:
        """Count and log a record that cannot be used."""
        self.counts["bad_records"] += 1
        log.warning("update topic %d:%d: %s", record.partition, record.offset, reason)

    def refuse_stored(self, generation: int, error: Exception) -> None:
        """Count and log a stored generation that cannot be used; the one before is tried."""
        self.counts["refused_models"] += 1
        log.error("generation %d is refused, the one before is taken: %s", generation, error)

    def interrupted(self, what: str, error: Exception) -> None:
        """Count and log that the broker or the store does not answer; it is tried again."""
        self.counts[what] += 1
        log.warning("update topic: %s; trying again", error)

    def ended(self, error: Exception) -> None:
        """Note what has ended the thread."""
        self.failure = error
        log.error("the update topic is followed no more", exc_info=error)

    # -- the thread ---------------------------------------------------------------------

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._follow()
            except (BrokerError, OSError) as error:
                # An OSError is the store's, which may be on other machines too.
                if isinstance(error, BrokerError):
                    self.connected = False
                    self.interrupted("broker_errors", error)
                else:
                    self.interrupted("store_errors", error)
                self._stop.wait(self._retry_seconds)
            except Exception as error:
                self.ended(error)
                return

    def _follow(self) -> None:
        """Read from the newest generation on, or from where we were, until told to stop."""
        with self._connect() as broker, ExitStack() as held:
            begin = broker.begin_offsets(self._topic)
            self.connected = True
            self.opened(broker, held)
            if self.positions:
                self.positions = {p: max(self.positions.get(p, 0), begin[p]) for p in begin}
            else:
                self.positions = start_position(broker, self._topic, self.load_newest())
            reader = broker.reader(self._topic, self.positions)
            held.callback(reader.close)
            while not self._stop.is_set():
                self.feed(reader.poll(timeout=0.1))
                self.after_poll()

    def load_newest(self) -> Generation | None:
        """Take the newest usable generation of the store, and return it."""
        for id_ in reversed(self._store.ids()):
            try:
                found = self._store.get(id_)
                if found.manifest.app == self._app:
                    self.take_stored(found)
                    return found
            except (StoreError, MessageError) as error:
                self.refuse_stored(id_, error)
        return None

    def feed(self, records: Sequence[Record]) -> None:
        """Take records of the update topic; a bad one is set aside."""
        for record in records:
            self.positions[record.partition] = record.offset + 1
            try:
                self.take(Message.from_record(record.key, record.value, record.headers), record)
            except (MessageError, StoreError) as error:
                self.set_aside(record, error.code, error)
            except OSError:
                # The store does not answer: the record is read again when it does.
                self.positions[record.partition] = record.offset
                raise
