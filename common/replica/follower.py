"""Follows the update topic in a thread; the base class of the speed and serving consumers."""

from __future__ import annotations

import logging
import threading
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack

from common.broker import Broker, BrokerError, Record
from common.broker.topics import MissingTopicError, UnusableTopicError, ordered_topic
from common.replica.good import GoodGenerations
from common.replica.positions import Start, start_of
from common.store.generations import Generation, ModelStore, StoreError
from common.wire.messages import MODEL, MODEL_REF, Message, MessageError

log = logging.getLogger(__name__)

#: Interval of the checks that the topic is still the same, and of its oldest offset.
WATCH_SECONDS = 3.0
#: Following that failed so often for no known reason, with no poll between, is given up.
MAX_CRASHES = 5
MAX_BACK_OFF_SECONDS = 30.0


class EndOfFollowing(Exception):
    """The topic is not to be followed any more, for a reason that trying again does not mend."""


class TopicFollower(ABC):
    """Reads the update topic, starting at the newest good generation, and handles its messages.

    One thread reads.  Positions belong to one topic: another topic of the same name is read from
    its beginning.  A record that cannot be used, for whatever reason, is set aside.  If the broker
    or the store does not answer, the thread tries again, with back-off; while the store is away,
    models that need it are put off and reading continues.

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
        Pause between a failure and the next attempt; doubled after each further failure.
    watch_seconds : float
        Interval of the checks that the topic is still the same, and of its oldest offset.

    Attributes
    ----------
    positions : dict of int to int
        For each partition the next offset to read; empty before the first connection.
    topic_id : str or None
        Identity of the topic that they refer to.
    begin : int
        The oldest offset of the topic when it was last checked.
    good : GoodGenerations
        The generations that may be taken from the store.
    connected : bool
        Whether the broker answers.
    trouble : str or None
        What does not answer just now, in a sentence.
    failure : Exception or None
        The error that ended the thread for good.
    """

    def __init__(
        self,
        app: str,
        topic: str,
        store: ModelStore,
        connect: Callable[[], Broker],
        counts: Counter[str] | None = None,
        retry_seconds: float = 1.0,
        watch_seconds: float = WATCH_SECONDS,
    ) -> None:
        self._app = app
        self._topic = topic
        self._store = store
        self._connect = connect
        self._retry_seconds = retry_seconds
        self._watch_seconds = watch_seconds
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="update-topic", daemon=True)
        self._failures = 0
        self._crashes = 0
        # Models that the store could not give, the newest last.
        self._postponed: list[tuple[Message, Record]] = []
        self._postponed_times = 0
        self._try_postponed_at = 0.0
        self.counts: Counter[str] = Counter() if counts is None else counts
        self.positions: dict[int, int] = {}
        self.topic_id: str | None = None
        self.begin = 0
        self.good = GoodGenerations(app, store)
        self.connected = False
        self.trouble: str | None = None
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
        """Handle one message.

        Raises
        ------
        MessageError, StoreError
            If it cannot be used.
        OSError
            If the store does not answer; a stamped model is put off then, and handled later.
        """

    @abstractmethod
    def take_stored(self, generation: Generation, start: Start) -> None:
        """Load a generation of the store, whose messages are read from `start` on.

        Raises as :meth:`take`.
        """

    @abstractmethod
    def opened(self, broker: Broker, held: ExitStack) -> None:
        """Prepare for a new connection, before its first record is read; positions are known.

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

    @abstractmethod
    def topic_changed(self, begin: int) -> None:
        """Let go of what belongs to the topic that was followed: sequences, epochs, offsets.

        Parameters
        ----------
        begin : int
            The oldest offset of the topic that is read from now on.
        """

    @abstractmethod
    def records_lost(self, before: int) -> None:
        """Note that records before the offset `before` were gone before they were read."""

    def set_aside(self, record: Record, code: str, reason: object) -> None:
        """Count and log a record that cannot be used."""
        self.counts["bad_records"] += 1
        log.warning("update topic %d:%d: %s", record.partition, record.offset, reason)

    def refuse_stored(self, generation: int, error: Exception) -> None:
        """Count and log a stored generation that cannot be used; the previous one is tried next."""
        self.good.refuse(generation, error)
        self.counts["refused_models"] += 1
        log.error("generation %d is refused, the one before is taken: %s", generation, error)

    def interrupted(self, counter: str, error: Exception) -> None:
        """Count and log that the broker or the store does not answer; the thread tries again."""
        self.counts[counter] += 1
        away = counter == "store_errors"
        self.trouble = f"the store does not answer: {error}" if away else str(error)
        log.warning("update topic: %s; trying again", self.trouble)

    def ended(self, error: Exception) -> None:
        """Keep and log the error that ended the thread."""
        self.failure = error
        log.error("the update topic is followed no more: %s", error, exc_info=error)

    # -- the thread ---------------------------------------------------------------------

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._follow()
            except (BrokerError, MissingTopicError) as error:
                self.connected = False
                self.interrupted("broker_errors", error)
            except OSError as error:
                # It comes from the store, which may be remote.
                self.interrupted("store_errors", error)
            except (EndOfFollowing, UnusableTopicError) as error:
                self.ended(error)
                return
            except Exception as error:
                self._crashes += 1
                if self._crashes >= MAX_CRASHES:
                    self.ended(error)
                    return
                self.counts["restarts"] += 1
                log.exception("following the update topic failed, it is begun again")
            self._stop.wait(self._back_off(self._failures))
            self._failures += 1

    def _back_off(self, failures: int) -> float:
        return float(min(self._retry_seconds * 2**failures, MAX_BACK_OFF_SECONDS))

    def _follow(self) -> None:
        """Read until :meth:`close`, from the last positions or from the newest generation."""
        with self._connect() as broker, ExitStack() as held:
            self._find_position(broker)
            self.connected = True
            if not self.positions:
                self.positions = dict(self.load_newest(broker).offsets)
            self.opened(broker, held)
            reader = broker.reader(self._topic, self.positions)
            held.callback(reader.close)
            look_at = time.monotonic() + self._watch_seconds
            while not self._stop.is_set():
                self.feed(reader.poll(timeout=0.1))
                self.after_poll()
                self._take_postponed()
                self._failures = self._crashes = 0
                if not self._postponed:
                    self.trouble = None
                if time.monotonic() >= look_at:
                    self._look(broker)
                    look_at = time.monotonic() + self._watch_seconds

    def _find_position(self, broker: Broker) -> None:
        """Compare the topic with the one that our positions belong to."""
        info = ordered_topic(broker, self._topic)
        begin, end = broker.begin_offsets(self._topic), broker.end_offsets(self._topic)
        known, self.topic_id = self.topic_id, info.topic_id
        if known not in (None, info.topic_id):
            self._begin_again("was made again", begin)
        elif any(at > end.get(p, 0) for p, at in self.positions.items()):
            self._begin_again(
                f"ends at {end}, before what was read of it ({self.positions})", begin
            )
        for partition, at in self.positions.items():
            if at < begin[partition]:
                self._lose(at, begin[partition])
                self.positions[partition] = begin[partition]
        self.begin = min(begin.values())

    def _begin_again(self, why: str, begin: dict[int, int]) -> None:
        self.counts["topic_changes"] += 1
        log.warning(
            "the update topic %r %s: it is read from its beginning; models stay", self._topic, why
        )
        self._postponed.clear()
        self.topic_changed(min(begin.values()))
        self.positions = dict(begin)

    def _lose(self, at: int, begin: int) -> None:
        self.counts["lost_records"] += begin - at
        log.warning(
            "offsets %d to %d of the update topic %r are gone, and were not read: "
            "update_topic.retention_hours has passed",
            at,
            begin - 1,
            self._topic,
        )
        self.records_lost(begin)

    def _look(self, broker: Broker) -> None:
        """Notice another topic of the name, and what retention has removed."""
        info = ordered_topic(broker, self._topic)
        if info.topic_id != self.topic_id:
            message = f"the update topic {self._topic!r} was deleted and made again"
            raise BrokerError(message)
        self.begin = min(broker.begin_offsets(self._topic).values())

    def load_newest(self, broker: Broker) -> Start:
        """Load the newest good generation of the store; returns where to begin to read.

        Raises
        ------
        BrokerError, OSError
            If the broker or the store does not answer.
        """
        while (found := self.good.newest(self.refuse_stored)) is not None:
            start = start_of(broker, self._topic, found)
            try:
                self._note_unknown(found)
                self.take_stored(found, start)
            except (BrokerError, OSError):
                raise
            except Exception as error:
                self.refuse_stored(found.id, error)
            else:
                return start
        return start_of(broker, self._topic, None)

    def _note_unknown(self, generation: Generation) -> None:
        if unknown := generation.manifest.unknown:
            self.counts["unknown_manifest_fields"] += len(unknown)
            names = ", ".join(unknown)
            log.info("generation %d: fields of a later version: %s", generation.id, names)

    def feed(self, records: Sequence[Record]) -> None:
        """Handle records of the update topic; set aside those that cannot be used."""
        for record in records:
            self.positions[record.partition] = record.offset + 1
            try:
                message = Message.from_record(record.key, record.value, record.headers)
                self._take_or_postpone(message, record)
            except (BrokerError, OSError):
                # The broker or the store does not answer: the record is read again later.
                self.positions[record.partition] = record.offset
                raise
            except EndOfFollowing:
                raise
            except (MessageError, StoreError) as error:
                self.set_aside(record, error.code, error)
            except Exception as error:
                self._contain(record, error)

    def _contain(self, record: Record, error: Exception) -> None:
        """Set a record aside over which a family or a library has failed."""
        kind = type(error).__name__
        if not self.counts[f"failed_{kind}"]:
            log.exception("the first record that fails with %s", kind)
        self.counts[f"failed_{kind}"] += 1
        self.set_aside(record, "failed", f"{kind}: {error}")

    def _take_or_postpone(self, message: Message, record: Record) -> None:
        try:
            self.take(message, record)
        except OSError as error:
            if message.stamp is None or message.key not in (MODEL, MODEL_REF):
                raise
            self._postponed.append((message, record))
            self._postponed_times = 0
            self._postpone(error)

    def _postpone(self, error: OSError) -> None:
        self._try_postponed_at = time.monotonic() + self._back_off(self._postponed_times)
        self._postponed_times += 1
        self.interrupted("store_errors", error)

    def _take_postponed(self) -> None:
        """Try again to take the models that the store could not give, the newest first."""
        while self._postponed and time.monotonic() >= self._try_postponed_at:
            message, record = self._postponed[-1]
            try:
                self.take(message, record)
            except OSError as error:
                self._postpone(error)
                return
            except (BrokerError, EndOfFollowing):
                raise
            except (MessageError, StoreError) as error:
                self.set_aside(record, error.code, error)
            except Exception as error:
                self._contain(record, error)
            self._postponed.pop()
