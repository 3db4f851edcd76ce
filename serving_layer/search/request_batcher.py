"""Batches concurrent queries into one computation."""

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
    """One thread's query; the event is set when it is answered, or when the thread must compute."""

    query: Q
    wake: threading.Event = field(default_factory=threading.Event)
    answer: R | None = None
    error: BaseException | None = None
    done: bool = False


class RequestBatcher(Generic[Q, R]):
    """Answers single queries through a function that answers many queries in one call.

    One computation runs at a time.  Queries that arrive meanwhile form the next batch, which the
    first of their threads computes.  Clients that have just been answered are likely to send their
    next query, so the next computation waits for as many queries, up to a share of the last
    computation's duration.  Eight clients in a loop are thus answered as one batch, and not
    alternately as one and seven; a single client never waits.

    Parameters
    ----------
    compute : callable
        Takes a list of queries and returns their answers in the same order.
    limit : int
        Largest number of queries in a batch.
    patience : float
        Longest wait for a full batch, as a share of the last computation's duration.
    clock : callable
        Monotonic seconds.
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
        # Set once the expected number of queries waits; the deadline ends the wait.
        self._enough = threading.Event()
        self._expected = 1
        self._deadline = 0.0

    @property
    def n_waiting(self) -> int:
        """How many questions wait for a computation."""
        return len(self._waiting)

    def ask(self, query: Q) -> R:
        """Return the answer to one query; raises the computation's error."""
        call: _Call[Q, R] = _Call(query)
        with self._lock:
            self._waiting.append(call)
            first = not self._busy
            self._busy = True
            self._set_if_enough()
        if not first:
            call.wake.wait()
        if not call.done:
            self._run()
        if call.error is not None:
            raise call.error
        return call.answer  # type: ignore[return-value]  # done without an error: it is set

    def _run(self) -> None:
        """Compute one batch of waiting queries, and let the next thread compute."""
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
            self._set_if_enough()
            if self._waiting:
                self._waiting[0].wake.set()
            else:
                self._busy = False

    def _set_if_enough(self) -> None:
        if len(self._waiting) >= self._expected:
            self._enough.set()
