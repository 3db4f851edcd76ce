"""The speed layer's ear: notices new generations, and updates that others send.

A thread reads the update topic.  The layer takes what it found between two micro-batches, so
that a model is only ever touched by one thread.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections import Counter
from collections.abc import Callable

from common.broker import Broker, BrokerError, Record
from common.messages import MODEL, MODEL_REF, PROGRESS, UP, Message, MessageError
from common.model_store import ModelStore, StoreError
from common.updates import ModelMessage, resolve, start_position, stored

log = logging.getLogger(__name__)

RETRY_SECONDS = 1.0
#: Updates that wait for the layer at most; beyond it the reading of the topic waits too.
MAX_WAITING = 100_000


class Follower:
    """Follows the update topic for the speed layer.

    Parameters
    ----------
    app, topic : str
        The family, and the name of the update topic.
    store : ModelStore
        The generations.
    connect : callable
        Opens the update topic's broker; called again after a failure.

    Attributes
    ----------
    counts : Counter
        What was seen, refused and passed over, by name.
    """

    def __init__(
        self, app: str, topic: str, store: ModelStore, connect: Callable[[], Broker]
    ) -> None:
        self._app = app
        self._topic = topic
        self._store = store
        self._connect = connect
        self._positions: dict[int, int] = {}
        self._newest: ModelMessage | None = None
        self._changed = threading.Condition()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="update-follower", daemon=True)
        self._foreign: queue.Queue[ModelMessage | str] = queue.Queue(MAX_WAITING)
        self.counts: Counter[str] = Counter()

    def start(self) -> None:
        """Start to follow the topic."""
        self._thread.start()

    def close(self) -> None:
        """Stop, waiting for the thread."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=10)

    def newer_than(self, model: ModelMessage | None, timeout: float) -> ModelMessage | None:
        """Return the newest model if it is another one than `model`, waiting for one a while.

        None when none has come after `timeout` seconds.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._newest is not model, timeout)
            return self._newest if self._newest is not model else None

    def take(self) -> list[ModelMessage | str]:
        """Return what others than Gemsbok have sent since the last call: models and updates."""
        found: list[ModelMessage | str] = []
        while not self._foreign.empty():
            found.append(self._foreign.get_nowait())
        return found

    def refuse(self, model: ModelMessage, error: Exception) -> None:
        """Count and log a model that could not be used."""
        self.counts["refused_models"] += 1
        log.error(
            "generation %s is refused, the last good one goes on: %s", model.generation, error
        )

    # -- the thread ---------------------------------------------------------------------

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._follow()
            except BrokerError as error:
                self.counts["broker_errors"] += 1
                log.warning("update topic: %s; trying again", error)
                self._stop.wait(RETRY_SECONDS)

    def _follow(self) -> None:
        with self._connect() as broker:
            self._find_start(broker)
            reader = broker.reader(self._topic, self._positions)
            try:
                while not self._stop.is_set():
                    for record in reader.poll(timeout=0.1):
                        self.feed(record)
            finally:
                reader.close()

    def _find_start(self, broker: Broker) -> None:
        """Begin at the newest generation of the store; go on from where we were later."""
        if self._positions:
            begin = broker.begin_offsets(self._topic)
            self._positions = {p: max(self._positions.get(p, 0), begin[p]) for p in begin}
            return
        newest = self._store.newest()
        if newest is not None and newest.manifest.app == self._app:
            self._offer(stored(newest))
        self._positions = start_position(broker, self._topic, newest)

    def _offer(self, model: ModelMessage) -> None:
        with self._changed:
            self._newest = model
            self._changed.notify_all()

    def feed(self, record: Record) -> None:
        """Take one record of the update topic; a bad one is counted and logged."""
        self._positions[record.partition] = record.offset + 1
        try:
            message = Message.from_record(record.key, record.value, record.headers)
            if message.key in (MODEL, MODEL_REF):
                self._on_model(message)
            elif message.key == UP and message.stamp is None:
                self._on_foreign_update(message.value)
            elif message.key not in (UP, PROGRESS):
                self.counts["unknown_key"] += 1
        except (MessageError, StoreError) as error:
            self.counts["bad_records"] += 1
            log.warning("update topic %d:%d: %s", record.partition, record.offset, error)

    def _on_model(self, message: Message) -> None:
        newest = self._newest
        generation = message.stamp.generation if message.stamp else None
        if newest and generation and newest.generation and generation <= newest.generation:
            return
        model = resolve(message, self._store)
        if generation is None and newest is not None and newest.generation is None:
            self._foreign.put(model)  # replaces the like of it in place, in the topic's order
        else:
            self._offer(model)

    def _on_foreign_update(self, value: str) -> None:
        if self._newest is None:
            self.counts["updates_before_a_model"] += 1
            return
        self._foreign.put(value)
