"""Tables of small records in memory that all workers of one service share.

What a client may rely on from one request to the next (a quota, a write that is not written
twice) must hold whichever worker answers.  A table that is made before the workers are forked
is theirs in common; in one process it is the same table, shared by threads alone.
"""

from __future__ import annotations

import fcntl
import hashlib
import mmap
import os
import secrets
import struct
import tempfile
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

#: Places among which a record is looked for; its key says which ones.
PLACES = 16
#: Places for each record of the capacity, so that hardly ever all places of a key are taken.
SPARE = 2


@dataclass(frozen=True, slots=True)
class Record:
    """One key's record, while nobody else can read or write it.

    Attributes
    ----------
    fields : tuple or None
        What was put last; None where nothing was, or its time is over.
    crowded : bool
        Whether a new record would take the place of another whose time is not over.
    put : callable
        ``put(until, *fields)`` puts new fields, which are forgotten at the moment `until` of
        the table's clock.
    """

    fields: tuple[Any, ...] | None
    crowded: bool
    put: Callable[..., None]


class SharedTtlTable:
    """Records by key.

    Parameters
    ----------
    layout : str
        The fields of a record, in the notation of :mod:`struct`.
    capacity : int
        Records for which there is room; beyond about that many, a new one takes the place of
        one whose time would be over soonest.
    clock : callable
        Seconds, never going back, the same in all processes.
    """

    def __init__(self, layout: str, capacity: int, clock: Callable[[], float]) -> None:
        self._record = struct.Struct(f"<16sd{layout}")
        self._sets = -(-capacity * SPARE // PLACES)
        self._set_bytes = PLACES * self._record.size
        self._memory = mmap.mmap(-1, self._sets * self._set_bytes)
        self._clock = clock
        # Salted, so that a client cannot choose keys that evict the records of others.
        self._salt = secrets.token_bytes(16)
        self._threads = threading.Lock()
        self._lock_file = _nameless_file()
        weakref.finalize(self, os.close, self._lock_file)

    @contextmanager
    def record(self, *key: str) -> Iterator[Record]:
        """Hold the record of `key`; it is free again when the block ends."""
        name = hashlib.blake2b("\0".join(key).encode(), key=self._salt, digest_size=16).digest()
        with self._threads:
            # The system takes this lock from a process that is killed, and it is a process's:
            # its threads need one of their own.
            fcntl.lockf(self._lock_file, fcntl.LOCK_EX)
            try:
                yield self._find(name)
            finally:
                fcntl.lockf(self._lock_file, fcntl.LOCK_UN)

    def _find(self, name: bytes) -> Record:
        first = int.from_bytes(name[:8], "little") % self._sets * self._set_bytes
        now, place, soonest = self._clock(), first, float("inf")
        places = self._record.iter_unpack(self._memory[first : first + self._set_bytes])
        for number, (owner, until, *fields) in enumerate(places):
            at = first + number * self._record.size
            if owner == name and until > now:
                return Record(tuple(fields), False, partial(self._put, name, at))
            if until < soonest:
                soonest, place = until, at
        return Record(None, soonest > now, partial(self._put, name, place))

    def _put(self, name: bytes, place: int, until: float, *fields: Any) -> None:
        self._record.pack_into(self._memory, place, name, until, *fields)


def _nameless_file() -> int:
    """Return a file descriptor that only this process, and those that it forks, have."""
    number, path = tempfile.mkstemp(prefix="gemsbok-")
    os.unlink(path)
    return number
