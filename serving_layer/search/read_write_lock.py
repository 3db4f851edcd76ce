"""A lock that many readers hold at once, or one writer alone."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class ReadWriteLock:
    """``with lock:`` for a reader; ``with lock.alone():`` for the one writer.

    A writer waits for the readers inside, and keeps new ones out meanwhile.  Readers do not wait
    for one another: waking a thread costs more than most of them take.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition(threading.Lock())
        self._readers = 0
        self._closed = False

    @property
    def closed(self) -> bool:
        """Whether new readers are kept out: a writer is inside, or waits for the readers."""
        return self._closed

    def __enter__(self) -> None:
        """Go in to read."""
        with self._changed:
            while self._closed:
                self._changed.wait()
            self._readers += 1

    def __exit__(self, *error: object) -> None:
        """Leave."""
        with self._changed:
            self._readers -= 1
            if not self._readers:
                self._changed.notify_all()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep all readers out; there may be one such block at a time."""
        with self._changed:
            self._closed = True
            while self._readers:
                self._changed.wait()
        try:
            yield
        finally:
            with self._changed:
                self._closed = False
                self._changed.notify_all()
