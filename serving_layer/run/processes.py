"""Supervises workers: processes that answer on one port.

The parent reserves the port and creates the application; workers are forked from it, so that
imported modules are in memory once.  Each worker has a listening socket of its own, so that the
kernel distributes connections evenly, and only to workers that are alive and ready.  The parent
answers no requests: it restarts workers that have ended and forwards signals.  It has no threads,
because forking requires that; therefore code that uses Kafka clients, whose threads may outlive
them, runs in a process of its own (:func:`run_apart`).
"""

from __future__ import annotations

import gc
import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import wait
from multiprocessing.context import ForkProcess
from typing import Any

from common.runtime.process import EXIT_FAILED
from common.telemetry.logs import OneLine

log = logging.getLogger(__name__)

#: The service ends when one worker ends this many times within this many seconds.
MAX_ENDS = 5
WITHIN_SECONDS = 60.0
#: Delay before a worker is restarted; doubled each time.
BACK_OFF_SECONDS = 0.5

#: Interval of checking that the parent is alive.
PARENT_CHECK_SECONDS = 1.0

_FORK = multiprocessing.get_context("fork")
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Supervisor:
    """Keeps a number of workers running.

    Parameters
    ----------
    workers : int
        Number of workers.
    work : callable
        Called with the worker's number in the worker's process; returns its exit code when the
        worker is stopped.
    on_end : callable
        Called with a worker's number when it has ended and is about to be started anew.
    back_off_seconds : float
        What a worker that has ended waits before it begins again; twice as long after each end.
    """

    def __init__(
        self,
        workers: int,
        work: Callable[[int], int],
        on_end: Callable[[int], None],
        back_off_seconds: float = BACK_OFF_SECONDS,
    ) -> None:
        self._back_off = back_off_seconds
        self._pid = os.getpid()
        self._numbers = range(1, 1 + workers)
        self._work = work
        self._on_end = on_end
        self._running: dict[int, ForkProcess] = {}
        self._ends: dict[int, list[float]] = {number: [] for number in self._numbers}
        self._stopping = False
        self._code = 0

    def run(self) -> int:
        """Run until SIGTERM or SIGINT, or until a worker ends too often.

        Returns
        -------
        int
            0 if all workers have stopped normally, else 1.
        """
        for signal_number in _SIGNALS:
            signal.signal(signal_number, self._stop)
        thread_names = [thread.name for thread in threading.enumerate()][1:]
        if thread_names:
            log.warning("threads that do not run in the workers: %s", ", ".join(thread_names))
        # Existing objects are exempt from garbage collection, which would write to their pages and
        # so copy them in every worker.
        gc.collect()
        gc.freeze()
        for number in self._numbers:
            self._start(number)
        while self._running:
            ended = wait([process.sentinel for process in self._running.values()])
            for number, process in list(self._running.items()):
                if process.sentinel in ended:
                    process.join()
                    del self._running[number]
                    self._ended(number, process.exitcode or 0)
        return self._code

    def _start(self, number: int, delay: float = 0.0) -> None:
        # Signals are blocked until the parent knows the worker and the worker has its own handlers.
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        process = _FORK.Process(
            target=self._run_worker, args=(number, delay), name=f"worker-{number}", daemon=True
        )
        process.start()
        self._running[number] = process
        if self._stopping:
            process.terminate()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)

    def _run_worker(self, number: int, delay: float) -> None:
        """Run a worker, in its process."""
        for signal_number in _SIGNALS:
            signal.signal(signal_number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        for handler in logging.getLogger().handlers:
            handler.setFormatter(OneLine(f"worker {number}"))
        threading.Thread(
            target=_stop_without_parent, args=(self._pid,), name="follow", daemon=True
        ).start()
        time.sleep(delay)
        sys.exit(self._work(number))

    def _stop(self, *_: Any) -> None:
        self._stopping = True
        for process in self._running.values():
            process.terminate()

    def _ended(self, number: int, code: int) -> None:
        if self._stopping:
            # A worker that has not begun to take requests is killed by the signal.
            if code not in (0, *(-signal_number for signal_number in _SIGNALS)):
                log.error("worker %d ended with code %d", number, code)
                self._code = EXIT_FAILED
            return
        now = time.monotonic()
        self._ends[number] = [at for at in self._ends[number] if now - at < WITHIN_SECONDS] + [now]
        ends = len(self._ends[number])
        if ends >= MAX_ENDS:
            log.error("worker %d ended with code %d, too often: the service ends", number, code)
            self._code = EXIT_FAILED
            self._stop()
            return
        delay = self._back_off * 2 ** (ends - 1)
        log.error("worker %d ended with code %d; again in %.1f s", number, code, delay)
        self._on_end(number)
        self._start(number, delay)


def run_apart(run: Callable[[], int]) -> int:
    """Call `run` in a process of its own, so that no threads of it remain; return its result."""
    process = _FORK.Process(target=lambda: sys.exit(run()), daemon=True)
    process.start()
    process.join()
    return process.exitcode or 0


def _stop_without_parent(parent: int) -> None:
    """Stop this process when its parent has died."""
    while os.getppid() == parent:
        time.sleep(PARENT_CHECK_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)
