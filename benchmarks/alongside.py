"""Work that goes on beside what is measured, and whose failure is a failure of the whole."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager


@contextmanager
def alongside(work: Callable[[threading.Event], object]) -> Iterator[None]:
    """Run some work in a thread during the block; it raises at the end what the work raised.

    Parameters
    ----------
    work : callable
        Gets an event, which says that it is to end.
    """
    done = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(work, done)
        try:
            yield
        finally:
            done.set()
        running.result()
