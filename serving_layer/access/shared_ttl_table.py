"""Tables of small records with an expiry, in memory that all workers of a service share.

Guarantees across requests, such as quotas and idempotent writes, must hold whichever worker
answers.  A table that is created before the workers are forked is shared by all of them; in a
single process it is shared by the threads.
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

#: Number of slots of a set; the key determines the set.
SET_SLOTS = 16
#: Slots per record of the capacity, so that a set is rarely full.
SLOTS_PER_RECORD = 2


@dataclass(frozen=True, slots=True)
class Record:
    """The record of one key, while its lock is held.

    Attributes
    ----------
    fields : tuple or None
        The fields put last; None if there are none or they have expired.
    crowded : bool
        Whether a new record would replace another one that has not expired.
    put : callable
        ``put(until, *fields)`` stores fields that expire at the time `until` of the table's
        clock.
    """

    fields: tuple[Any, ...] | None
    crowded: bool
    put: Callable[..., None]


class SharedTtlTable:
    """A hash table of records with an expiry.

    Parameters
    ----------
    layout : str
        The fields of a record, as a format of :mod:`struct`.
    capacity : int
        Number of records; beyond about this many, a new record replaces one that would expire
        soonest.
    clock : callable
        Monotonic seconds, the same in all processes.
    """

    def __init__(self, layout: str, capacity: int, clock: Callable[[], float]) -> None:
        self._record = struct.Struct(f"<16sd{layout}")
        self._sets = -(-capacity * SLOTS_PER_RECORD // SET_SLOTS)
        self._set_bytes = SET_SLOTS * self._record.size
        self._memory = mmap.mmap(-1, self._sets * self._set_bytes)
        self._clock = clock
        # The hash is salted, so that a client cannot choose keys that evict others' records.
        self._salt = secrets.token_bytes(16)
        self._thread_lock = threading.Lock()
        self._lock_file = _unlinked_file()
        weakref.finalize(self, os.close, self._lock_file)

    @contextmanager
    def record(self, *key: str) -> Iterator[Record]:
        """Lock the table during the block; yield the record of `key`."""
        name = hashlib.blake2b("\0".join(key).encode(), key=self._salt, digest_size=16).digest()
        with self._thread_lock:
            # The kernel frees this lock when its process is killed.  It is held by the process,
            # so its threads need a lock of their own.
            fcntl.lockf(self._lock_file, fcntl.LOCK_EX)
            try:
                yield self._find(name)
            finally:
                fcntl.lockf(self._lock_file, fcntl.LOCK_UN)

    def _find(self, name: bytes) -> Record:
        first = int.from_bytes(name[:8], "little") % self._sets * self._set_bytes
        now, slot, soonest = self._clock(), first, float("inf")
        slots = self._record.iter_unpack(self._memory[first : first + self._set_bytes])
        for number, (owner, until, *fields) in enumerate(slots):
            offset = first + number * self._record.size
            if owner == name and until > now:
                return Record(tuple(fields), False, partial(self._put, name, offset))
            if until < soonest:
                soonest, slot = until, offset
        return Record(None, soonest > now, partial(self._put, name, slot))

    def _put(self, name: bytes, offset: int, until: float, *fields: Any) -> None:
        self._record.pack_into(self._memory, offset, name, until, *fields)


def _unlinked_file() -> int:
    """Return the descriptor of an unlinked file, which forked processes inherit."""
    handle, path = tempfile.mkstemp(prefix="gemsbok-")
    os.unlink(path)
    return handle
