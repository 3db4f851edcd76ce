"""Several workers: processes that answer on one port.

The parent reserves the port and makes the application; workers are forked from it, so that what
it has imported is in memory once.  Each listens by itself, so that the system deals connections
out evenly and none to one that is gone or not ready.  The parent answers nothing: it starts a
worker anew that has ended, passes signals on, and has no thread, as forking demands: those of
the Kafka clients may outlive them.
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

#: A worker may end so often within so many seconds before the service ends.
MAX_ENDS = 5
WITHIN_SECONDS = 60.0
#: Before a worker is started anew; twice as long each time.
BACK_OFF_SECONDS = 0.5

#: Between two looks whether the parent is still there.
LOOK_SECONDS = 1.0

_FORK = multiprocessing.get_context("fork")
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Supervisor:
    """Keeps a number of workers running.

    Parameters
    ----------
    workers : int
        How many.
    work : callable
        Called with the worker's number in a process of its own; returns its exit code, when it
        has been told to stop.
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
            0 if all workers have stopped as they were told to, else 1.
        """
        for one in _SIGNALS:
            signal.signal(one, self._stop)
        left = [thread.name for thread in threading.enumerate()][1:]
        if left:
            log.warning("threads that do not run in the workers: %s", ", ".join(left))
        # What has been made until now stays: the collector would write to all of it.
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
        # A signal is for the parent: it waits until the worker is known, or is one.
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        process = _FORK.Process(
            target=self._become, args=(number, delay), name=f"worker-{number}", daemon=True
        )
        process.start()
        self._running[number] = process
        if self._stopping:
            process.terminate()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)

    def _become(self, number: int, delay: float) -> None:
        """Be a worker."""
        for one in _SIGNALS:
            signal.signal(one, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        for handler in logging.getLogger().handlers:
            handler.setFormatter(OneLine(f"worker {number}"))
        threading.Thread(target=_follow, args=(self._pid,), name="follow", daemon=True).start()
        time.sleep(delay)
        sys.exit(self._work(number))

    def _stop(self, *_: Any) -> None:
        self._stopping = True
        for process in self._running.values():
            process.terminate()

    def _ended(self, number: int, code: int) -> None:
        if self._stopping:
            # One that had not begun to take requests dies of the signal.
            if code not in (0, *(-one for one in _SIGNALS)):
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
    """Return what `run` returns in a process of its own; the threads that it starts end there."""
    process = _FORK.Process(target=lambda: sys.exit(run()), daemon=True)
    process.start()
    process.join()
    return process.exitcode or 0


def _follow(parent: int) -> None:
    """Stop this process when its parent has gone: nobody else would."""
    while os.getppid() == parent:
        time.sleep(LOOK_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)
