"""Arrays that lie in files, in memory that processes share until they write to it."""

from __future__ import annotations

import ctypes
import io
import mmap
import os
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: POSIX's flag for a mapping in the place of another, which Python's mmap does not name; it is
#: the same number on Linux, macOS and the BSDs.
_MAP_FIXED = 0x10


def mapped_rows(
    file: io.BufferedReader, offset: int, shape: tuple[int, int], room: int
) -> NDArray[np.float32]:
    """Map a file's float32 numbers as rows, with room for more rows behind them.

    Nothing is copied: a page is the file's, for all processes that map it, until one writes to
    it, which changes that process's own copy of the page and never the file.  The file may be
    removed, but must not be written while the array lives.

    Parameters
    ----------
    file : binary file
        On a local disk; it may be closed afterwards.
    offset : int
        Byte at which the first row starts.
    shape : (int, int)
        Rows in the file and numbers in each.
    room : int
        Further rows; what they hold means nothing.  Pages never written take no memory.

    Returns
    -------
    ndarray, shape (rows + room, columns)
        Writeable and C-contiguous.

    Raises
    ------
    OSError
        If the file cannot be mapped.
    """
    n_rows, n_columns = shape
    n_bytes = n_rows * n_columns * 4
    lead = offset % mmap.ALLOCATIONGRANULARITY
    size = lead + n_bytes + room * n_columns * 4
    # The file takes the place of this mapping's first pages, so that both are one array.
    region = mmap.mmap(-1, max(size, 1), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if n_bytes:
        address = ctypes.addressof(ctypes.c_char.from_buffer(region))
        access = mmap.PROT_READ | mmap.PROT_WRITE
        flags = mmap.MAP_PRIVATE | _MAP_FIXED
        placed = _libc().mmap(address, lead + n_bytes, access, flags, file.fileno(), offset - lead)
        if placed != address:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        region.madvise(mmap.MADV_WILLNEED)
    flat = np.frombuffer(region, np.float32, (n_rows + room) * n_columns, lead)
    return flat.reshape(n_rows + room, n_columns)


@lru_cache(maxsize=1)
def _libc() -> Any:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [
        ctypes.c_void_p,
        ctypes.c_size_t,
        ctypes.c_int,
        ctypes.c_int,
        ctypes.c_int,
        ctypes.c_long,
    ]
    return libc
