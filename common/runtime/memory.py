"""Settings of glibc's allocator that keep a process's resident memory small."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

#: glibc's `mallopt` parameters: the block size from which `mmap` is used, and the arena limit.
_M_MMAP_THRESHOLD, _M_ARENA_MAX = -3, -8
#: Bytes; more than the temporary arrays of a top-N scan, so that requests do not call `mmap`.
_LARGE_BLOCK = 2 * 1024 * 1024
#: The control group's limit, in its second version and in its first.
_GROUP_LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)


def keep_memory_small() -> None:
    """Return freed memory to the system early; does nothing without glibc.

    Fixes the size from which a block gets a mapping of its own, which is unmapped when the block
    is freed.  By default glibc raises this size with each large block that is freed and keeps
    the space: 26 MB after a model of a million vectors is loaded, 34 MB after queries.  Also
    limits the arenas to the number of cores, instead of eight times as many.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _LARGE_BLOCK)
        mallopt(_M_ARENA_MAX, len(os.sched_getaffinity(0)))


def return_freed_memory() -> None:
    """Return memory that is already freed to the system; does nothing without glibc.

    By default glibc keeps tens of megabytes after a large model has been read.
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
