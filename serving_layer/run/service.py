"""The parts of a serving process: application, consumer, HTTP server; alone or as a worker."""

from __future__ import annotations

import functools
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from common.broker import open_broker
from common.config import Settings
from common.store.generations import ModelStore
from serving_layer.events.producer import LazyProducer
from serving_layer.http.lean import LeanFlask
from serving_layer.model.consumer import Consumer
from serving_layer.model.generations import Sources
from serving_layer.operations.worker_status import State, WorkerStatus
from serving_layer.request.context import missing, unready
from serving_layer.request.metrics import Metrics
from serving_layer.run.app import create_app
from serving_layer.run.family import serving_family
from serving_layer.transport.server import HttpServer, limits
from serving_layer.transport.sockets import join
from serving_layer.transport.tls import Certificate

log = logging.getLogger(__name__)

#: Interval of a worker's reports.
REPORT_SECONDS = 0.5


class EndedError(RuntimeError):
    """The process could not keep its model up to date, and has stopped; start it anew."""


@dataclass(frozen=True)
class Service:
    """The application with its consumer and producer; without threads and connections at first."""

    settings: Settings
    app: LeanFlask
    consumer: Consumer
    producer: LazyProducer | None

    @classmethod
    def of(cls, settings: Settings) -> Service:
        """Create the service that the configuration describes.

        Raises
        ------
        ConfigError
            As :func:`serving_layer.run.app.create_app`.
        """
        read_only = settings.serving.api.read_only
        producer = None if read_only else LazyProducer(functools.partial(open_broker, settings))
        sources = Sources(
            connect=functools.partial(open_broker, settings, settings.update_broker),
            store=ModelStore.of(settings.batch.storage),
            new_model=functools.partial(serving_family(settings).new_model, settings),
        )
        consumer = Consumer(settings, sources, on_end=_stop_this_process)
        return cls(settings, create_app(settings, consumer, producer), consumer, producer)

    @property
    def metrics(self) -> Metrics:
        """The application's metrics."""
        found: Metrics = self.app.extensions["gemsbok-metrics"]
        return found

    @property
    def state(self) -> State:
        """The state of a worker that takes requests."""
        if self.app.extensions["gemsbok"].draining.is_set():
            return State.AWAY
        with self.app.app_context():
            wanting = missing(self.consumer.model) or unready()
        return State.LOADING if wanting else State.READY

    def run(
        self, listen: Callable[[], socket.socket], certificate: Certificate | None = None
    ) -> None:
        """Serve until a signal stops the process.

        Parameters
        ----------
        listen : callable
            Returns a listening socket when requests are to be taken; the model is loaded
            meanwhile.
        certificate : Certificate, optional
            The certificate for HTTPS.

        Raises
        ------
        EndedError
            If the update topic could not be followed any more.
        """
        self.consumer.start()
        try:
            HttpServer(self.app, listen(), limits(self.settings), certificate=certificate).run()
        finally:
            self.consumer.close()
            if self.producer is not None:
                self.producer.close()
        self.raise_failure()

    def raise_failure(self) -> None:
        """Raise :class:`EndedError` if the model is kept up to date no more."""
        failure = self.consumer.failure
        if failure is not None:
            message = f"the update topic is followed no more: {failure}"
            raise EndedError(message) from failure


@dataclass
class Worker:
    """One of several workers: a service that reports its state to the others.

    Parameters
    ----------
    service : Service
        The service that it runs.
    statuses : WorkerStatus
        The shared states of all workers.
    number : int
        The worker's number, from 1.
    """

    service: Service
    statuses: WorkerStatus
    number: int
    _taking: bool = field(default=False, init=False)

    def run(self, reserved: socket.socket, certificate: Certificate | None) -> None:
        """Serve until a signal stops the process.

        Parameters
        ----------
        reserved : socket
            From :func:`serving_layer.transport.sockets.reserve`.
        certificate : Certificate or None
            The certificate for HTTPS.
        """
        self._taking = self.number not in self.statuses.workers_in(State.AWAY)
        threading.Thread(target=self._report, name="report", daemon=True).start()
        self.service.run(lambda: self._join(reserved), certificate)

    def _join(self, reserved: socket.socket) -> socket.socket:
        """Listen; a restarted worker waits for its model first, while others can answer."""
        while not self._taking and self.service.state != State.READY:
            self.service.raise_failure()
            self._taking = not self.statuses.workers_in(State.READY)
            time.sleep(REPORT_SECONDS)
        self._taking = True
        return join(reserved)

    def _report(self) -> None:
        while True:
            self.statuses.note(self.number, self.service.state if self._taking else State.AWAY)
            try:
                self.service.metrics.tell(self.number)
            except OSError as error:
                log.warning("/metrics has old figures of this worker: %s", error)
            time.sleep(REPORT_SECONDS)


def _stop_this_process() -> None:
    """Stop the server as a signal from outside does: requests that it has taken are answered.

    Until the process listens, no handler is installed that could receive the signal.
    """
    while signal.getsignal(signal.SIGTERM) in (signal.SIG_DFL, None):
        time.sleep(REPORT_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)
