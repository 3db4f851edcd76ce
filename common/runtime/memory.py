"""How a process uses memory, where the C library can be told (glibc's)."""

from __future__ import annotations

import ctypes
import os

#: glibc's numbers for the size from which on a block is a mapping, and for the number of heaps.
_M_MMAP_THRESHOLD, _M_ARENA_MAX = -3, -8
#: More than what a scan takes for a moment, so that requests map nothing.
_LARGE_BLOCK = 2 * 1024 * 1024


def keep_memory_small() -> None:
    """Have freed memory go back to the system, where the C library can be told so (glibc's).

    A large block becomes a mapping of its own, which ends with it.  Left to itself the library
    raises the size from which on that is so with each that is freed, and keeps the holes: 26 MB
    when a model of a million vectors has been loaded, 34 when it has been asked.  And threads
    share as many heaps as there are cores, instead of eight times as many.
    """
    option = getattr(ctypes.CDLL(None), "mallopt", None)
    if option is not None:
        option(_M_MMAP_THRESHOLD, _LARGE_BLOCK)
        option(_M_ARENA_MAX, len(os.sched_getaffinity(0)))


def return_freed_memory() -> None:
    """Give the system back what has been freed, where the C library can (glibc's).

    It would keep what it has used once: tens of megabytes after a large model has been read.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
