"""Follows the update topic in a thread; the base class of the speed and serving consumers."""

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
    """Reads the update topic, starting at the newest stored generation, and handles its messages.

    One thread reads.  If the broker or the store does not answer, the thread tries again; a record
    that cannot be used is set aside.

    Parameters
    ----------
    app : str
        The family; generations of other families are skipped.
    topic : str
        The update topic.
    store : ModelStore
        The generations.
    connect : callable
        Opens the update topic's broker; called again after a failure.
    counts : Counter, optional
        Counters by name: bad records, refused models, errors.
    retry_seconds : float
        Pause between a failure of the broker or the store and the next attempt.

    Attributes
    ----------
    positions : dict of int to int
        For each partition the next offset to read; empty before the first connection.
    connected : bool
        Whether the broker answers.
    failure : Exception or None
        The unexpected error that ended the thread.
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
        """Start the thread."""
        self._thread.start()

    def close(self) -> None:
        """Stop the thread and wait until it has ended."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=10)

    # -- implemented or overridden by a layer -----------------------------------------------

    @abstractmethod
    def take(self, message: Message, record: Record) -> None:
        """Handle one message; raises MessageError or StoreError if it cannot be used."""

    @abstractmethod
    def take_stored(self, generation: Generation) -> None:
        """Load the newest generation of the store; raises as :meth:`take`."""

    @abstractmethod
    def opened(self, broker: Broker, held: ExitStack) -> None:
        """Prepare for a new connection, before its first record is read.

        Parameters
        ----------
        broker : Broker
            The connection.
        held : ExitStack
            Closed when the connection ends.
        """

    @abstractmethod
    def after_poll(self) -> None:
        """Do periodic work; called after each poll, even if it returned no records."""

    def set_aside(self, record: Record, code: str, reason: object) -> None:
        """Count and log a record that cannot be used."""
        self.counts["bad_records"] += 1
        log.warning("update topic %d:%d: %s", record.partition, record.offset, reason)

    def refuse_stored(self, generation: int, error: Exception) -> None:
        """Count and log a stored generation that cannot be used; the previous one is tried next."""
        self.counts["refused_models"] += 1
        log.error("generation %d is refused, the one before is taken: %s", generation, error)

    def interrupted(self, counter: str, error: Exception) -> None:
        """Count and log that the broker or the store does not answer; the thread tries again."""
        self.counts[counter] += 1
        log.warning("update topic: %s; trying again", error)

    def ended(self, error: Exception) -> None:
        """Keep and log the error that ended the thread."""
        self.failure = error
        log.error("the update topic is followed no more", exc_info=error)

    # -- the thread ---------------------------------------------------------------------

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._follow()
            except (BrokerError, OSError) as error:
                # An OSError comes from the store, which may be remote.
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
        """Read until :meth:`close`, from the last positions or from the newest generation."""
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
        """Load and return the newest usable generation of the store."""
        for id_ in reversed(self._store.ids()):
            try:
                generation = self._store.get(id_)
                if generation.manifest.app == self._app:
                    self.take_stored(generation)
                    return generation
            except (StoreError, MessageError) as error:
                self.refuse_stored(id_, error)
        return None

    def feed(self, records: Sequence[Record]) -> None:
        """Handle records of the update topic; set aside those that cannot be used."""
        for record in records:
            self.positions[record.partition] = record.offset + 1
            try:
                self.take(Message.from_record(record.key, record.value, record.headers), record)
            except (MessageError, StoreError) as error:
                self.set_aside(record, error.code, error)
            except OSError:
                # The store does not answer: the record is read again later.
                self.positions[record.partition] = record.offset
                raise
