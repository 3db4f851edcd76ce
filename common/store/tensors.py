"""Files of named arrays, mapped instead of read (safetensors).

Such a file has the length of its header, the header in JSON, and after it the arrays as they are
in memory.  The library reads them into memory of the process; here they stay in the file, so
that processes share them: https://github.com/huggingface/safetensors#format.
"""

from __future__ import annotations

import json
import math
import mmap
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from common.store.mapped import mapped_rows

_TYPES: dict[str, Any] = {"F32": np.float32, "I32": np.int32, "U8": np.uint8}
_LENGTH_BYTES = 8


class TensorFile:
    """The arrays of one file, of float32, int32, or bytes.

    The file may be removed while they are in use, but not written.

    Parameters
    ----------
    path : Path
        The file.

    Raises
    ------
    OSError
        If it cannot be read.
    ValueError
        If it is no such file, or not whole.
    """

    def __init__(self, path: Path) -> None:
        with path.open("rb") as file:
            self._data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._path = path
        try:
            # It finds out whether the header is sound, and fits the file.
            with safe_open(path, "numpy"):
                pass
        except SafetensorError as error:
            raise ValueError(str(error)) from error
        length = int.from_bytes(self._data[:_LENGTH_BYTES], "little")
        self._start = _LENGTH_BYTES + length
        self._header: dict[str, Any] = json.loads(self._data[_LENGTH_BYTES : self._start])

    def __contains__(self, name: object) -> bool:
        """Tell whether there is an array of this name."""
        return name in self._header

    def array(self, name: str, dtype: type[np.generic], n_dimensions: int = 1) -> NDArray[Any]:
        """Return a read-only array in the file's own memory.

        Raises
        ------
        ValueError
            If there is none, or one of another type or number of dimensions.
        """
        offset, shape = self._place(name, dtype, n_dimensions)
        flat = np.frombuffer(self._data, dtype, math.prod(shape), offset)
        return flat.reshape(shape)

    def rows(self, name: str, room: int) -> NDArray[np.float32]:
        """Return a writeable matrix with `room` more rows behind those in the file.

        Who writes to it changes a copy in memory; see :func:`common.store.mapped.mapped_rows`.

        Raises
        ------
        ValueError
            If it is no matrix of float32.
        OSError
            If it cannot be mapped.
        """
        offset, (n_rows, n_columns) = self._place(name, np.float32, 2)
        with self._path.open("rb") as file:
            return mapped_rows(file, offset, (n_rows, n_columns), room)

    def _place(
        self, name: str, dtype: type[np.generic], n_dimensions: int
    ) -> tuple[int, tuple[int, ...]]:
        """Return the byte at which an array begins, and its shape."""
        if name not in self._header:
            message = f"there is no array {name!r}, only {sorted(self._header)}"
            raise ValueError(message)
        found = self._header[name]
        if _TYPES.get(found["dtype"]) is not dtype or len(found["shape"]) != n_dimensions:
            message = (
                f"{name!r} is {found['dtype']} of shape {found['shape']}, "
                f"not {dtype.__name__} of {n_dimensions} dimensions"
            )
            raise ValueError(message)
        return self._start + found["data_offsets"][0], tuple(found["shape"])
