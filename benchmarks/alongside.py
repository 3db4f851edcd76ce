"""Runs work in a thread beside a measurement; its failure fails the measurement."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager


@contextmanager
def alongside(work: Callable[[threading.Event], object]) -> Iterator[None]:
    """Run work in a thread during the block; raises the work's error at the end.

    Parameters
    ----------
    work : callable
        Called with an event that is set when it must end.
    """
    done = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(work, done)
        try:
            yield
        finally:
            done.set()
        running.result()
