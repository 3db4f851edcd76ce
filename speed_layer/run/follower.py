"""The speed layer's ear: notices new generations, and updates that others send.

A thread reads the update topic.  The layer takes what it found between two micro-batches, so
that a model is only ever touched by one thread.  What cannot be used goes to the update topic's
dead-letter topic.  Of all that read the update topic the speed layer alone writes there, as
there is one of it: of N serving replicas each would.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack
from typing import NamedTuple

from common.broker import Broker, Producer, Record
from common.config import UpdateTopic
from common.replica.follower import TopicFollower
from common.replica.updates import ModelMessage, resolve, stored
from common.store.generations import Generation, ModelStore, StoreError
from common.wire.dead_letters import DeadLetter
from common.wire.messages import MODEL, MODEL_REF, PROGRESS, UP, Message, MessageError, Progress

log = logging.getLogger(__name__)

#: Updates that wait for the layer at most; beyond it the reading of the topic waits too.
MAX_WAITING = 100_000
#: Models at hand, to go on with the one before if the newest cannot be used.
MAX_MODELS = 3
#: Bytes of a record that the dead-letter topic keeps; of a larger one it has length and hash.
KEPT_BYTES = 65_536


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
    """

    def __init__(
        self,
        app: str,
        topic: UpdateTopic,
        store: ModelStore,
        connect: Callable[[], Broker],
        retry_seconds: float = 1.0,
    ) -> None:
        super().__init__(app, topic.name, store, connect, retry_seconds=retry_seconds)
        self._dead_letters = topic.dead_letter
        # The newest last; those before it are what a refused one falls back on.
        self._models: deque[tuple[ModelMessage, Record | None]] = deque(maxlen=MAX_MODELS)
        self._refused: deque[tuple[Record, str]] = deque()
        self._changed = threading.Condition()
        self._foreign: queue.Queue[Foreign] = queue.Queue(MAX_WAITING)
        self._producer: Producer | None = None

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

    def take_foreign(self) -> list[Foreign]:
        """Return what others than Gemsbok have sent since the last call: models and updates."""
        found: list[Foreign] = []
        while not self._foreign.empty():
            found.append(self._foreign.get_nowait())
        return found

    def refuse(self, model: ModelMessage, error: MessageError | StoreError) -> None:
        """Count and log a model that could not be used: the one before it is the newest again.

        Its record is set aside.
        """
        self.counts["refused_models"] += 1
        log.error(
            "generation %s is refused, the last good one goes on: %s", model.generation, error
        )
        code = "bad_model" if error.code == "parse" else error.code
        with self._changed:
            for offered, record in list(self._models):
                if offered is model:
                    self._models.remove((offered, record))
                    if record is not None:  # the store's own have none
                        self._refused.append((record, f"{code}: {error}"))
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
        """Open a producer for dead letters."""
        self._producer = broker.producer()
        held.callback(self._producer.close)

    def after_poll(self) -> None:
        """Write what was set aside."""
        if self._producer is not None:
            self.write_dead_letters(self._producer)

    def take_stored(self, generation: Generation) -> None:
        """Offer a generation of the store."""
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
        else:
            self.counts["unknown_key"] += 1
            self.set_aside(record, "unknown_key", f"unknown key {message.key[:100]!r}")

    def _on_model(self, message: Message, record: Record) -> None:
        newest = self._newest
        generation = message.stamp.generation if message.stamp else None
        if newest and generation and newest.generation and generation <= newest.generation:
            self.counts["old_models"] += 1
            return
        model = resolve(message, self._store)
        if generation is None and newest is not None and newest.generation is None:
            # It replaces its like in place, in the topic's order.
            self._foreign.put(Foreign(model, record))
        else:
            self._offer(model, record)

    def _on_foreign_update(self, value: str, record: Record) -> None:
        if self._newest is None:
            self.counts["updates_before_a_model"] += 1
            return
        self._foreign.put(Foreign(value, record))
