"""The speed layer: one micro-batch after the other, folded in and published.

It keeps no state on disk.  What it has done is on the update topic: killed at any point, it
opens the newest generation again, applies the messages that a PROGRESS has closed, and folds
in from there.  A newer generation is taken up the same way, from its cut.
"""

from __future__ import annotations

import functools
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import pyarrow as pa
from threadpoolctl import threadpool_limits

from common.base.errors import CodedError
from common.broker import Broker, BrokerError, Producer, open_broker
from common.broker.topics import MissingTopicError, UnusableTopicError
from common.config import Settings
from common.replica.follower import WATCH_SECONDS
from common.replica.updates import ModelMessage
from common.store.generations import ModelStore
from common.wire.dead_letters import ReadLines
from common.wire.messages import Message
from speed_layer.api import Events, SpeedModel
from speed_layer.run.follower import Follower
from speed_layer.run.inputs import InputTopic
from speed_layer.run.poison import PoisonEvents
from speed_layer.run.stream import OpenStream, Stream, StreamError
from speed_layer.run.view import FoldError, UpdateLog, View, open_view

log = logging.getLogger(__name__)

MAX_BACK_OFF_SECONDS = 10.0
TICK_SECONDS = 0.1


@dataclass(frozen=True)
class Family:
    """What the layer needs of the model family."""

    new_model: Callable[[], SpeedModel]
    read: ReadLines


@dataclass
class Totals:
    """What the layer has done since its start."""

    events: int = 0
    bad_lines: int = 0
    updates: int = 0
    micro_batches: int = 0
    seconds: float = 0.0
    counts: Counter[str] = field(default_factory=Counter)


@dataclass
class _Newer:
    """When a newer model is tried again that the store could not give."""

    retry_seconds: float
    failures: int = 0
    try_at: float = 0.0

    def put_off(self) -> None:
        self.try_at = time.monotonic() + _seconds_after(self.failures, self.retry_seconds)
        self.failures += 1


def _seconds_after(failures: int, first: float) -> float:
    return float(min(first * 2**failures, MAX_BACK_OFF_SECONDS))


class SpeedLayer:
    """Follows the input topic and publishes the family's updates.

    Parameters
    ----------
    settings : Settings
        The configuration.
    open_stream : callable
        Opens the input topic as a stream of micro-batches.
    family : Family
        The model family.
    connect : callable
        Opens the update topic's broker.
    retry_seconds : float
        Between a failure and the next try; twice as long after each further one.
    watch_seconds : float
        Between two looks at what of the topics is gone.
    """

    def __init__(
        self,
        settings: Settings,
        open_stream: OpenStream,
        family: Family,
        connect: Callable[[], Broker],
        retry_seconds: float = 1.0,
        watch_seconds: float = WATCH_SECONDS,
    ) -> None:
        self._settings = settings
        self._open_stream = open_stream
        self._family = family
        self._connect = connect
        self._connect_input = functools.partial(open_broker, settings)
        self._retry_seconds = retry_seconds
        self._watch_seconds = watch_seconds
        self._store = ModelStore.of(settings.batch.storage)
        self._follower = Follower(
            settings.app, settings.update_topic, self._store, connect, retry_seconds, watch_seconds
        )
        self._poison = PoisonEvents(self._follower.counts)
        self._folding = threading.Lock()
        self._stop = threading.Event()
        self.totals = Totals(counts=self._follower.counts)

    def stop(self) -> None:
        """Finish the micro-batch that is under way and leave :meth:`run`."""
        self._stop.set()

    def run(self) -> None:
        """Work until :meth:`stop`.

        Raises
        ------
        SupersededError
            If another speed layer has taken over.
        UnusableTopicError
            If the update topic has several partitions.
        """
        self._follower.start()
        try:
            # A micro-batch's matrices are small: BLAS's threads would wait for one another much
            # longer than they compute.
            with threadpool_limits(1, "blas"):
                self._work()
        finally:
            self._follower.close()

    def _work(self) -> None:
        failures = 0
        view: View | None = None
        while not self._stop.is_set():
            try:
                view = view or self._newest_view()
                if view is not None:
                    view = self._feed(view)
                failures = 0
            except (BrokerError, MissingTopicError, OSError, StreamError) as error:
                view = None
                self._back_off(error, failures)
                failures += 1

    def _back_off(self, error: Exception, failures: int) -> None:
        self.totals.counts["restarts"] += 1
        seconds = _seconds_after(failures, self._retry_seconds)
        reason = str(error).partition("\n")[0]
        log.warning("micro-batches stopped: %s; again in %.1f s", reason, seconds)
        self._stop.wait(seconds)

    # -- views --------------------------------------------------------------------------

    def _newest_view(self) -> View | None:
        """Open the newest model; None where there is none after a while, or it is refused."""
        source = self._follower.newer_than(None, timeout=0.5)
        if source is None:
            return None
        return self._open(source, lambda: self._is_over(source))

    def _is_over(self, source: ModelMessage) -> bool:
        return self._stop.is_set() or self._follower.newer_than(source, 0) is not None

    def _open(self, source: ModelMessage, give_up: Callable[[], bool]) -> View | None:
        """Open a view of a model; None where it was refused or given up.

        Raises
        ------
        BrokerError, MissingTopicError, OSError
            If the broker or the store does not answer, which says nothing of the model.
        """
        epoch = self._follower.wait_for_epoch(0.5)
        if epoch is None:
            return None
        topic, app = self._settings.update_topic.name, self._settings.app
        with self._connect() as broker:
            origin = UpdateLog(broker, topic, app, epoch, self.totals.counts)
            try:
                view = open_view(source, self._family.new_model, origin, give_up)
            except (BrokerError, OSError, UnusableTopicError):
                raise
            except Exception as error:
                if not isinstance(error, CodedError):
                    log.exception("the family fails over generation %s", source.generation)
                self._follower.refuse(source, error)
                return None
        if view is not None and source.generation is not None:
            self._follower.good.accept(source.generation)
        return view

    def _feed(self, view: View) -> View | None:
        """Fold into a view until another one is open, and return that.

        Returns None where the view is to be opened again, from what is on the topics.
        """
        with self._connect_input() as input_broker, self._connect() as broker:
            inputs = InputTopic(input_broker, self._settings.input_topic.name, self.totals.counts)
            start = inputs.begin(view)
            producer = broker.producer()

            def fold(read: Callable[[], pa.Table]) -> None:
                self._fold(view, read, inputs, producer)

            try:
                if view.restated:
                    self._send([view.statement()], producer)
                with self._open_stream(start, fold) as stream:
                    try:
                        return self._follow(view, stream, inputs)
                    finally:
                        with self._folding:
                            view.retired = True
            finally:
                producer.close()

    def _follow(self, view: View, stream: Stream, inputs: InputTopic) -> View | None:
        """Watch a view that is being fed, until it is over; returns the one that follows it."""
        newer = _Newer(self._retry_seconds)
        look_at = time.monotonic() + self._watch_seconds
        while not self._stop.is_set():
            if not stream.active:
                stream.raise_failure()
                return None
            if view.retired or self._is_out_of_date(view):
                return None
            if self._follower.has_foreign:
                with self._folding:
                    self._take_foreign(view)
            if time.monotonic() >= look_at:
                if inputs.has_lost(view):
                    return None
                look_at = time.monotonic() + self._watch_seconds
            opened = self._open_newer(view, stream, newer)
            if opened is not None:
                return opened
        return None

    def _open_newer(self, view: View, stream: Stream, newer: _Newer) -> View | None:
        """Wait for a newer model a little, and open it while the view before is being fed."""
        source = self._follower.newer_than(view.source, timeout=TICK_SECONDS)
        if source is None:
            return None
        if time.monotonic() < newer.try_at:
            self._stop.wait(TICK_SECONDS)
            return None
        try:
            return self._open(source, lambda: self._is_over(source) or not stream.active)
        except OSError as error:
            newer.put_off()
            self.totals.counts["store_errors"] += 1
            log.warning(
                "generation %s waits, the one before is fed: the store does not answer: %s",
                source.generation,
                error,
            )
            return None

    def _is_out_of_date(self, view: View) -> bool:
        """Whether the view's messages would not be read as it thinks, so that it is opened anew."""
        if view.generation is None:
            return False
        if self._follower.begin > view.stands_on:
            log.warning(
                "messages that generation %s stands on are gone from the update topic",
                view.generation,
            )
            return True
        return self._follower.epoch != view.epoch

    # -- streaming ----------------------------------------------------------------------

    def _fold(
        self, view: View, read: Callable[[], pa.Table], inputs: InputTopic, producer: Producer
    ) -> None:
        """Fold one micro-batch in and publish it, unless another view has taken over.

        The lock spans Spark's part too: a query that is stopped in the middle of it dies
        noisily.
        """
        with self._folding:
            if view.retired:
                return
            started = time.perf_counter()
            events = read()
            if not events.num_rows:
                return
            if not inputs.is_same(view) or not self._may_write(view):
                self._poison.forget()
                view.retired = True
                return
            self._publish(view, events, producer)
            self.totals.seconds += time.perf_counter() - started

    def _may_write(self, view: View) -> bool:
        follower = self._follower
        return follower.failure is None and view.epoch == follower.epoch

    def _publish(self, view: View, events: pa.Table, producer: Producer) -> None:
        self._take_foreign(view)
        if view.model.fraction_loaded < self._settings.speed.min_model_load_fraction:
            # Only with a model that is not ours, whose vectors come one by one (Oryx's rule).
            self.totals.counts["events_before_the_model"] += events.num_rows
            return
        limit = self._settings.input_topic.max_line_bytes
        for part in self._poison.parts(events):
            # The lines that cannot be read are set aside by the batch layer.
            (rows,) = part.combine_chunks().to_batches()
            readable = Events.read(rows, self._family.read, limit)
            good = self._poison.without(readable)
            try:
                sent = self._send(view.fold(part, good), producer)
            except FoldError as error:
                self._poison.note(good, error)
                view.retired = True
                return
            self.totals.events += part.num_rows
            self.totals.bad_lines += part.num_rows - len(readable)
            self.totals.updates += sent
        self.totals.micro_batches += 1

    def _send(self, messages: Iterable[Message], producer: Producer) -> int:
        """Send messages and wait until they are acknowledged; returns their number."""
        topic, sent = self._settings.update_topic.name, 0
        for message in messages:
            headers = message.stamp.to_headers() if message.stamp else ()
            producer.send(topic, message.key, message.value, headers)
            sent += 1
        producer.flush(self._settings.broker.delivery_timeout_seconds)
        return sent

    def _take_foreign(self, view: View) -> None:
        for found, record in self._follower.take_foreign():
            try:
                if isinstance(found, ModelMessage):
                    view.model.load(found)
                else:
                    view.model.apply_foreign(found)
            except Exception as error:
                self.totals.counts["bad_updates"] += 1
                code = "bad_model" if isinstance(found, ModelMessage) else "bad_update"
                if not isinstance(error, CodedError):
                    log.exception("the family fails over a record without our headers")
                    code = "failed"
                self._follower.set_aside(record, code, error)
