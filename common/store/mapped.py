"""Maps arrays from files copy-on-write, so that processes share their pages."""

from __future__ import annotations

import ctypes
import io
import mmap
import os
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: POSIX's flag for a mapping that replaces another, which Python's mmap module lacks; it has
#: the same value on Linux, macOS and the BSDs.
_MAP_FIXED = 0x10


def mapped_rows(
    file: io.BufferedReader, offset: int, shape: tuple[int, int], room: int
) -> NDArray[np.float32]:
    """Map a file's float32 matrix, with room for more rows after those of the file.

    No data is copied: all processes that map the file share its pages.  A write copies the page
    for the writing process and never changes the file.  The file may be removed, but must not
    be written to while the array is in use.

    Parameters
    ----------
    file : binary file
        A file on a local disk; it may be closed afterwards.
    offset : int
        Byte at which the first row starts.
    shape : (int, int)
        Number of rows in the file and of columns.
    room : int
        Number of further rows, with undefined content.  Pages never written take no memory.

    Returns
    -------
    ndarray, shape (rows + room, columns)
        The matrix, writeable and C-contiguous.

    Raises
    ------
    OSError
        If the file cannot be mapped.
    """
    n_rows, n_columns = shape
    n_bytes = n_rows * n_columns * 4
    lead = offset % mmap.ALLOCATIONGRANULARITY
    size = lead + n_bytes + room * n_columns * 4
    # The file replaces the first pages of this mapping, so that both form one array.
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
