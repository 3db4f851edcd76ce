"""How a process uses memory, where the C library can be told (glibc's)."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

#: glibc's numbers for the size from which on a block is a mapping, and for the number of heaps.
_M_MMAP_THRESHOLD, _M_ARENA_MAX = -3, -8
#: More than what a scan takes for a moment, so that requests map nothing.
_LARGE_BLOCK = 2 * 1024 * 1024
#: The control group's limit, in its second version and in its first.
_GROUP_LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)


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


def memory_limit() -> int:
    """Return how many bytes this process may use: the machine's, or fewer by its control group."""
    found = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for path in _GROUP_LIMITS:
        try:
            found = min(found, int(path.read_text(encoding="ascii")))
        except (OSError, ValueError):
            # There is no such file, or it says "max".
            continue
    return found
