"""The speed layer: one micro-batch after the other, folded in and published.

It keeps no state on disk.  What it has done is on the update topic: killed at any point, it
opens the newest generation again, applies the messages that a PROGRESS has closed, and folds
in from there.  A newer generation is brought from its cut to where the present one is while that
is kept up to date; from then on each micro-batch is folded into both, until the older is retired.
"""

from __future__ import annotations

import functools
import logging
import threading
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass

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
from speed_layer.api import SpeedModel
from speed_layer.run.folding import Folding
from speed_layer.run.follower import Follower
from speed_layer.run.inputs import InputTopic
from speed_layer.run.lines import Lines
from speed_layer.run.stream import OpenStream, Stream, StreamError
from speed_layer.run.view import UpdateLog, View, open_view

log = logging.getLogger(__name__)

MAX_BACK_OFF_SECONDS = 10.0
TICK_SECONDS = 0.1
#: Events that a newer generation takes at once while it catches up.
CATCH_UP_EVENTS = 5_000
#: It joins after it had no more than these to take; the others wait while it takes the rest.
LAST_EVENTS = 2_000


@dataclass(frozen=True)
class Family:
    """What the layer needs of the model family."""

    new_model: Callable[[], SpeedModel]
    read: ReadLines


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
        self._folding = Folding(settings, family.read, self._follower)
        self._stop = threading.Event()
        self.totals = self._folding.totals

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

    # -- feeding ------------------------------------------------------------------------

    def _feed(self, first: View) -> View | None:
        """Feed a view, and newer ones beside it, until another one is to take over alone.

        Returns that view, or None where views are to be opened again, from what is on the topics.
        """
        with self._connect_input() as input_broker, self._connect() as broker:
            inputs = InputTopic(input_broker, self._settings.input_topic.name, self.totals.counts)
            start = inputs.begin(first)
            lines = Lines(first)
            with closing(broker.producer()) as producer, closing(broker.producer()) as second:
                if first.restated:
                    self._folding.send([first.statement()], producer)
                fold = functools.partial(self._fold, lines, inputs, producer)
                with self._open_stream(start, fold) as stream:
                    try:
                        return self._follow(lines, stream, inputs, second)
                    finally:
                        lines.leave()

    def _fold(
        self,
        lines: Lines,
        inputs: InputTopic,
        producer: Producer,
        read: Callable[[], pa.Table],
    ) -> None:
        """Fold one micro-batch into all lines and publish it, unless the stream is to be left.

        The lock spans Spark's part too: a query that is stopped in the middle of it dies
        noisily.
        """
        with lines.lock:
            if lines.over:
                return
            started = time.perf_counter()
            events = read()
            if not events.num_rows:
                return
            if not all(inputs.is_same(v) and self._folding.may_write(v) for v in lines.views):
                self._folding.forget_poison()
                lines.over = True
                return
            self._folding.publish(lines.views, events, producer)
            self.totals.micro_batches += 1
            self.totals.seconds += time.perf_counter() - started

    def _follow(
        self, lines: Lines, stream: Stream, inputs: InputTopic, producer: Producer
    ) -> View | None:
        """Watch what is fed, and take newer generations up; returns as :meth:`_feed`."""
        newer = _Newer(self._retry_seconds)
        look_at = time.monotonic() + self._watch_seconds
        while self._goes_on(lines, stream):
            if self._follower.has_foreign:
                with lines.lock:
                    self._folding.take_foreign(lines.views)
            if time.monotonic() >= look_at:
                if any(inputs.has_lost(view) for view in lines.views):
                    return None
                look_at = time.monotonic() + self._watch_seconds
            opened = self._open_newer(lines.newest, stream, newer)
            if opened is None:
                if self._follower.newer_than(lines.newest.source, 0) is None:
                    lines.retire_old(self._settings.speed.overlap_seconds)
            elif None in (opened.generation, lines.newest.generation):
                # A model that is not ours says nothing of offsets: it begins now, alone.
                return opened
            else:
                self._catch_up(opened, lines, stream, inputs, producer)
        return None

    def _goes_on(self, lines: Lines, stream: Stream) -> bool:
        """Whether something is fed; views that have to be opened anew are left."""
        if self._stop.is_set():
            return False
        if not stream.active:
            stream.raise_failure()
            return False
        for view in list(lines.views):
            if view.retired or self._is_out_of_date(view):
                lines.remove(view)
        return not lines.over

    def _catch_up(
        self,
        view: View,
        lines: Lines,
        stream: Stream,
        inputs: InputTopic,
        producer: Producer,
    ) -> None:
        """Bring a newer generation from its cut to where the others are, and let it join them.

        It reads aside, in this thread, while the stream feeds the others.  It is given up where
        an even newer one appears, or the family fails over its events: then it is opened anew.
        """
        at = inputs.begin(view)
        if view.restated:
            self._folding.send([view.statement()], producer)
        lacking = LAST_EVENTS + 1
        while lacking > LAST_EVENTS:
            until, lacking = lines.newest.offsets, 0
            for events in inputs.between(at, until, CATCH_UP_EVENTS):
                if not self._may_catch_up(view, lines, stream, inputs):
                    return
                self._folding.publish([view], events, producer)
                lacking += events.num_rows
            at = _further(at, until)
        with lines.lock:
            until = lines.newest.offsets
            for events in inputs.between(at, until, CATCH_UP_EVENTS):
                self._folding.publish([view], events, producer)
            if not view.retired and not lines.over:
                view.begins = _further(at, until)
                lines.join(view)

    def _may_catch_up(self, view: View, lines: Lines, stream: Stream, inputs: InputTopic) -> bool:
        return (
            self._goes_on(lines, stream)
            and not view.retired
            and not self._is_over(view.source)
            and inputs.is_same(view)
            and self._folding.may_write(view)
        )

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


def _further(at: dict[int, int], until: dict[int, int]) -> dict[int, int]:
    """Return for each partition the later of two offsets."""
    return {p: max(at.get(p, 0), until.get(p, 0)) for p in at.keys() | until.keys()}
