"""Concurrent requests gathered into one computation, without waiting for company."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

Q = TypeVar("Q")
R = TypeVar("R")


class _Call(Generic[Q, R]):
    """One thread's question, and what wakes the thread: an answer, or the turn to compute."""

    def __init__(self, query: Q) -> None:
        self.query = query
        self.wake = threading.Event()
        self.answer: R | None = None
        self.error: BaseException | None = None
        self.done = False


class Gatherer(Generic[Q, R]):
    """Answers single questions through a function that answers many at once.

    Whoever asks while nothing is being computed computes at once, alone: there is no timer.
    Questions that arrive meanwhile form the next computation, made by the first who waits.

    Parameters
    ----------
    compute : callable
        Takes a list of questions and returns their answers in the same order.
    limit : int
        Questions in one computation at most.
    """

    def __init__(self, compute: Callable[[list[Q]], Sequence[R]], limit: int = 32) -> None:
        self._compute = compute
        self._limit = limit
        self._lock = threading.Lock()
        self._waiting: deque[_Call[Q, R]] = deque()
        self._busy = False

    def ask(self, query: Q) -> R:
        """Return the answer to one question; raises what its computation raises."""
        call: _Call[Q, R] = _Call(query)
        with self._lock:
            self._waiting.append(call)
            first = not self._busy
            self._busy = True
        if not first:
            call.wake.wait()
        if not call.done:
            self._run()
        if call.error is not None:
            raise call.error
        return call.answer  # type: ignore[return-value]  # done without an error: it is set

    def _run(self) -> None:
        """Compute what waits, up to the limit, and pass the turn on."""
        with self._lock:
            calls = [self._waiting.popleft() for _ in range(min(self._limit, len(self._waiting)))]
        try:
            answers = self._compute([call.query for call in calls])
            for call, answer in zip(calls, answers, strict=True):
                call.answer = answer
        except BaseException as error:
            for call in calls:
                call.error = error
            if not isinstance(error, Exception):
                raise
        finally:
            for call in calls:
                call.done = True
                call.wake.set()
            self._pass_on()

    def _pass_on(self) -> None:
        with self._lock:
            if self._waiting:
                self._waiting[0].wake.set()
            else:
                self._busy = False
