"""A lock that many readers share, or one writer holds exclusively."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class ReadWriteLock:
    """``with lock:`` for a reader; ``with lock.exclusive():`` for the only writer.

    A writer waits for the current readers and blocks new ones.  Readers do not wait for one
    another: waking a thread takes longer than most of their reads.
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
        """Acquire for reading; waits for a writer."""
        with self._changed:
            while self._closed:
                self._changed.wait()
            self._readers += 1

    def __exit__(self, *error: object) -> None:
        """Release after reading."""
        with self._changed:
            self._readers -= 1
            if not self._readers:
                self._changed.notify_all()

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Acquire for writing; at most one thread may do so at a time."""
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
