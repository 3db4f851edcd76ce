"""Threads that compute requests for an event loop.

``asyncio``'s own way there (an executor's future, wrapped in the loop's) costs a third of what
Flask takes for a whole trivial request; ``benchmarks/http_overhead.py`` measures it.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, TypeVar, cast

A = TypeVar("A")
R = TypeVar("R")

_Task = tuple["asyncio.Future[Any]", Callable[[Any], Any], Any]


class RequestThreads:
    """A fixed number of threads; each call's result comes back to the loop that asked for it.

    They are daemons: a request that never ends does not keep the process from stopping.
    """

    def __init__(self, count: int) -> None:
        self._tasks: SimpleQueue[_Task | None] = SimpleQueue()
        self._count = count
        for number in range(count):
            threading.Thread(target=self._work, name=f"request-{number}", daemon=True).start()

    async def run(self, function: Callable[[A], R], argument: A) -> R:
        """Return ``function(argument)``, computed on one of the threads."""
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._tasks.put((future, function, argument))
        return cast("R", await future)

    def close(self) -> None:
        """End each thread once it has done what it is doing and what waits before this."""
        for _ in range(self._count):
            self._tasks.put(None)

    def _work(self) -> None:
        while (task := self._tasks.get()) is not None:
            future, function, argument = task
            try:
                result = function(argument)
            except BaseException as error:
                _deliver(future, _fail, error)
            else:
                _deliver(future, _succeed, result)
            del task, future, argument


def _deliver(
    future: asyncio.Future[Any], set_outcome: Callable[[asyncio.Future[Any], Any], None], value: Any
) -> None:
    # The loop is closed where the server has stopped without waiting for this request.
    with contextlib.suppress(RuntimeError):
        future.get_loop().call_soon_threadsafe(set_outcome, future, value)


def _succeed(future: asyncio.Future[Any], result: Any) -> None:
    if not future.done():
        future.set_result(result)


def _fail(future: asyncio.Future[Any], error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)
