"""The speed layer's ear: notices new generations, other writers, and updates that others send.

A thread reads the update topic.  It claims to be the writer when it starts, and knows its epoch
once it has read its own claim; it ends when it reads a later one.  The layer takes what it
found between two micro-batches, so that a model is only ever touched by one thread.  What cannot
be used goes to the update topic's dead-letter topic.  Of all that read the update topic the
speed layer alone writes there, as there is one of it: of N serving replicas each would.
"""

from __future__ import annotations

import logging
import os
import queue
import secrets
import socket
import threading
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack
from typing import NamedTuple

from common.base.errors import CodedError
from common.broker import Broker, Producer, Record
from common.config import UpdateTopic
from common.replica.follower import WATCH_SECONDS, EndOfFollowing, TopicFollower
from common.replica.positions import Start
from common.replica.updates import ModelMessage, resolve, stored
from common.store.generations import Generation, ModelStore
from common.wire.dead_letters import DeadLetter
from common.wire.messages import (
    MODEL,
    MODEL_REF,
    PROGRESS,
    UNBOUND,
    UP,
    WRITER,
    Claim,
    Message,
    Progress,
)

log = logging.getLogger(__name__)

#: Updates that wait for the layer at most; beyond it the reading of the topic waits too.
MAX_WAITING = 100_000
#: Models at hand, to go on with the one before if the newest cannot be used.
MAX_MODELS = 3
#: Bytes of a record that the dead-letter topic keeps; of a larger one it has length and hash.
KEPT_BYTES = 65_536


class SupersededError(EndOfFollowing):
    """Another speed layer has taken over; this one must not write any more."""


class Foreign(NamedTuple):
    """A model or an update that others have sent, and the record that it came in."""

    what: ModelMessage | str
    record: Record


class Follower(TopicFollower):
    """Follows the update topic for the speed layer.

    Parameters
    ----------
    app : str
        The family.
    topic : UpdateTopic
        Names the topic, and the one for its dead letters.
    store : ModelStore
        The generations.
    connect : callable
        Opens the update topic's broker; called again after a failure.
    retry_seconds : float
        Between a failure and the next try.
    watch_seconds : float
        Between two looks at what of the topic is gone.

    Attributes
    ----------
    epoch : int or None
        Offset of our claim on the topic that is followed; None until it has been read.
    """

    def __init__(
        self,
        app: str,
        topic: UpdateTopic,
        store: ModelStore,
        connect: Callable[[], Broker],
        retry_seconds: float = 1.0,
        watch_seconds: float = WATCH_SECONDS,
    ) -> None:
        super().__init__(
            app,
            topic.name,
            store,
            connect,
            retry_seconds=retry_seconds,
            watch_seconds=watch_seconds,
        )
        self._dead_letters = topic.dead_letter
        # The newest last; those before it are what a refused one falls back on.
        self._models: deque[tuple[ModelMessage, Record | None]] = deque(maxlen=MAX_MODELS)
        self._refused: deque[tuple[Record, str]] = deque()
        self._changed = threading.Condition()
        self._foreign: queue.Queue[Foreign] = queue.Queue(MAX_WAITING)
        self._producer: Producer | None = None
        self._claims: set[str] = set()
        self._wants_another = threading.Event()
        self.epoch: int | None = None

    def newer_than(self, model: ModelMessage | None, timeout: float) -> ModelMessage | None:
        """Return the newest model if it is another one than `model`, waiting for one a while.

        None when none has come after `timeout` seconds.

        Raises
        ------
        Exception
            What has ended the thread: without it no generation would be noticed any more.
        """
        with self._changed:
            self._changed.wait_for(
                lambda: self.failure is not None or self._newest not in (None, model), timeout
            )
            if self.failure is not None:
                raise self.failure
            return self._newest if self._newest is not model else None

    @property
    def _newest(self) -> ModelMessage | None:
        return self._models[-1][0] if self._models else None

    def wait_for_epoch(self, timeout: float) -> int | None:
        """Return our epoch, waiting for it a while; raises as :meth:`newer_than`."""
        with self._changed:
            self._changed.wait_for(
                lambda: self.failure is not None or self.epoch is not None, timeout
            )
            if self.failure is not None:
                raise self.failure
            return self.epoch

    @property
    def has_foreign(self) -> bool:
        """Whether :meth:`take_foreign` would return something."""
        return not self._foreign.empty()

    def take_foreign(self) -> list[Foreign]:
        """Return what others than Gemsbok have sent since the last call: models and updates."""
        found: list[Foreign] = []
        while not self._foreign.empty():
            found.append(self._foreign.get_nowait())
        return found

    def refuse(self, model: ModelMessage, error: Exception) -> None:
        """Count and log a model that could not be used: the one before it is the newest again.

        Its record is set aside.  Where none is at hand, the next good one of the store is taken.

        Parameters
        ----------
        model : ModelMessage
            The model.
        error : Exception
            Why: a MessageError, a StoreError, or whatever the family has failed with.
        """
        self.counts["refused_models"] += 1
        if model.generation is not None:
            self.good.refuse(model.generation, error)
        log.error(
            "generation %s is refused, the last good one goes on: %s", model.generation, error
        )
        code = error.code if isinstance(error, CodedError) else "failed"
        code = "bad_model" if code == "parse" else code
        with self._changed:
            for offered, record in list(self._models):
                if offered is model:
                    self._models.remove((offered, record))
                    if record is not None:  # the store's own have none
                        self._refused.append((record, f"{code}: {error}"))
            if not self._models:
                self._wants_another.set()
            self._changed.notify_all()

    def set_aside(self, record: Record, code: str, reason: object) -> None:
        """Count and log a record that cannot be used; its dead letter is written soon."""
        super().set_aside(record, code, reason)
        self._refused.append((record, f"{code}: {reason}"))

    # -- the thread ---------------------------------------------------------------------

    def ended(self, error: Exception) -> None:
        """Note what has ended the thread, and wake the layer."""
        with self._changed:
            super().ended(error)
            self._changed.notify_all()

    def opened(self, broker: Broker, held: ExitStack) -> None:
        """Open a producer for dead letters, and claim to be the writer."""
        self._producer = broker.producer()
        held.callback(self._producer.close)
        if self.epoch is None:
            self._claim(self._producer)

    def _claim(self, producer: Producer) -> None:
        """Send a claim; one whose outcome is unknown may come later, and is ours too."""
        writer = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(8)}"
        self._claims.add(writer)
        claim = Claim(writer, self._app)
        producer.send(self._topic, WRITER, claim.to_value(), UNBOUND.to_headers())
        producer.flush()

    def topic_changed(self, begin: int) -> None:
        """Claim anew: epochs are offsets of the topic that was followed."""
        with self._changed:
            self.epoch = None
            self._changed.notify_all()

    def records_lost(self, before: int) -> None:
        """Do nothing: the layer restates its line when what that stands on is gone."""

    def after_poll(self) -> None:
        """Write what was set aside."""
        if self._producer is not None:
            self.write_dead_letters(self._producer)
        if self._wants_another.is_set():
            with self._connect() as broker:
                self.load_newest(broker)
            self._wants_another.clear()

    def take_stored(self, generation: Generation, start: Start) -> None:
        """Offer a generation of the store."""
        if self._newest is None:
            self._offer(stored(generation))

    def write_dead_letters(self, producer: Producer) -> None:
        """Write what was set aside; what is not acknowledged stays for the next time.

        Raises
        ------
        BrokerError
            If the topic cannot be written.
        """
        waiting = list(self._refused)
        for record, reason in waiting:
            where = (self._topic, record.partition, record.offset)
            value, headers = DeadLetter(*where, "speed", reason, record.value).record(KEPT_BYTES)
            key = None if record.key is None else record.key.decode(errors="replace")
            producer.send(self._dead_letters, key, value, headers)
        if waiting:
            producer.flush()
        for _ in waiting:
            self._refused.popleft()

    def _offer(self, model: ModelMessage, record: Record | None = None) -> None:
        with self._changed:
            self._models.append((model, record))
            self._changed.notify_all()

    def take(self, message: Message, record: Record) -> None:
        """Take one message; raises MessageError or StoreError where it cannot be used."""
        if message.key in (MODEL, MODEL_REF):
            self._on_model(message, record)
        elif message.key == UP:
            if message.stamp is None:
                self._on_foreign_update(message.value, record)
        elif message.key == PROGRESS:
            Progress.from_value(message.value)
        elif message.key == WRITER:
            self._on_claim(message, record)
        elif message.stamp is not None:
            self.counts["unknown_stamped_keys"] += 1
        else:
            self.counts["unknown_key"] += 1
            self.set_aside(record, "unknown_key", f"unknown key {message.key[:100]!r}")

    def _on_claim(self, message: Message, record: Record) -> None:
        """Learn our epoch by our own claim; a later one of another ends us."""
        claim = Claim.from_value(message.value)
        if message.stamp is None or claim.app != self._app:
            self.counts["claims_of_other_apps"] += 1
        elif claim.writer in self._claims:
            with self._changed:
                self.epoch = record.offset
                self._changed.notify_all()
        elif self.epoch is not None:
            text = (
                f"the speed layer {claim.writer} has taken over the update topic {self._topic!r} "
                f"(its claim lies at offset {record.offset}, ours at {self.epoch}): this one "
                "stops; only one may run for an app"
            )
            raise SupersededError(text)

    def _on_model(self, message: Message, record: Record) -> None:
        newest = self._newest
        generation = message.stamp.generation if message.stamp else None
        if newest and generation and newest.generation and generation <= newest.generation:
            self.counts["old_models"] += 1
            return
        model = resolve(message, self._store)
        if generation is None and newest is not None and newest.generation is None:
            # It replaces its like in place, in the topic's order.
            self._put(Foreign(model, record))
        else:
            self._offer(model, record)

    def _on_foreign_update(self, value: str, record: Record) -> None:
        if self._newest is None:
            self.counts["updates_before_a_model"] += 1
            return
        self._put(Foreign(value, record))

    def _put(self, found: Foreign) -> None:
        """Hand over what others have sent; wait while the layer has too much of it."""
        while not self._stop.is_set():
            try:
                self._foreign.put(found, timeout=0.5)
                return
            except queue.Full:
                self.counts["waits_for_the_layer"] += 1
