"""Concurrent requests gathered into one computation, for which the first waits a little."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Q = TypeVar("Q")
R = TypeVar("R")


@dataclass(eq=False)
class _Call(Generic[Q, R]):
    """One thread's question, and what wakes the thread: an answer, or the turn to compute."""

    query: Q
    wake: threading.Event = field(default_factory=threading.Event)
    answer: R | None = None
    error: BaseException | None = None
    done: bool = False


class RequestBatcher(Generic[Q, R]):
    """Answers single questions through a function that answers many at once.

    One computation runs at a time; questions that arrive meanwhile form the next, made by the
    first of them.  Those that have just been answered are likely to be followed by as many: for
    them the next computation is held back, by a share of what the last one took.  Eight clients
    that ask again and again are so answered together, not by one and seven in turn; one client
    alone never waits.

    Parameters
    ----------
    compute : callable
        Takes a list of questions and returns their answers in the same order.
    limit : int
        Questions in one computation at most.
    patience : float
        How long company is waited for after a computation, as a share of what it took.
    clock : callable
        Seconds, from any start.
    """

    def __init__(
        self,
        compute: Callable[[list[Q]], Sequence[R]],
        limit: int = 32,
        patience: float = 0.5,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._compute = compute
        self._limit = limit
        self._patience = patience
        self._clock = clock
        self._lock = threading.Lock()
        self._waiting: deque[_Call[Q, R]] = deque()
        self._busy = False
        # Set once as many wait as are expected, which is given up after the deadline.
        self._enough = threading.Event()
        self._expected = 1
        self._deadline = 0.0

    @property
    def n_waiting(self) -> int:
        """How many questions wait for a computation."""
        return len(self._waiting)

    def ask(self, query: Q) -> R:
        """Return the answer to one question; raises what its computation raises."""
        call: _Call[Q, R] = _Call(query)
        with self._lock:
            self._waiting.append(call)
            first = not self._busy
            self._busy = True
            self._tell_if_enough()
        if not first:
            call.wake.wait()
        if not call.done:
            self._run()
        if call.error is not None:
            raise call.error
        return call.answer  # type: ignore[return-value]  # done without an error: it is set

    def _run(self) -> None:
        """Compute what waits, up to the limit, and pass the turn on."""
        self._enough.wait(max(0.0, self._deadline - self._clock()))
        with self._lock:
            self._enough.clear()
            calls = [self._waiting.popleft() for _ in range(min(self._limit, len(self._waiting)))]
        started = self._clock()
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
            self._pass_on(len(calls), started)
            for call in calls:
                call.done = True
                call.wake.set()

    def _pass_on(self, answered: int, started: float) -> None:
        ended = self._clock()
        with self._lock:
            self._expected = min(answered + len(self._waiting), self._limit)
            self._deadline = ended + self._patience * (ended - started)
            self._tell_if_enough()
            if self._waiting:
                self._waiting[0].wake.set()
            else:
                self._busy = False

    def _tell_if_enough(self) -> None:
        if len(self._waiting) >= self._expected:
            self._enough.set()
