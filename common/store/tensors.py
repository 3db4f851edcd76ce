"""Maps the arrays of safetensors files, so that processes share their memory.

A file has the length of its header, the header in JSON, and the arrays in their memory layout.
The safetensors library reads them into the process's memory; this module maps them instead.
Format: https://github.com/huggingface/safetensors#format.
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
    """The arrays (float32, int32, uint8) of one file.

    The file may be removed while the arrays are in use, but must not be written to.

    Parameters
    ----------
    path : Path
        The file.

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If it is not a complete safetensors file.
    """

    def __init__(self, path: Path) -> None:
        with path.open("rb") as file:
            self._data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._path = path
        try:
            # Opening it verifies that the header is valid and matches the file's size.
            with safe_open(path, "numpy"):
                pass
        except SafetensorError as error:
            raise ValueError(str(error)) from error
        length = int.from_bytes(self._data[:_LENGTH_BYTES], "little")
        self._start = _LENGTH_BYTES + length
        self._header: dict[str, Any] = json.loads(self._data[_LENGTH_BYTES : self._start])

    def __contains__(self, name: object) -> bool:
        """Return whether the file has an array of this name."""
        return name in self._header

    def array(self, name: str, dtype: type[np.generic], n_dimensions: int = 1) -> NDArray[Any]:
        """Return a read-only array in the mapped file.

        Raises
        ------
        ValueError
            If there is no such array, or it has another type or number of dimensions.
        """
        offset, shape = self._place(name, dtype, n_dimensions)
        flat = np.frombuffer(self._data, dtype, math.prod(shape), offset)
        return flat.reshape(shape)

    def rows(self, name: str, room: int) -> NDArray[np.float32]:
        """Return a writeable matrix with room for `room` rows after those of the file.

        Writes change a copy in memory; see :func:`common.store.mapped.mapped_rows`.

        Raises
        ------
        ValueError
            If the array is not a matrix of float32.
        OSError
            If the file cannot be mapped.
        """
        offset, (n_rows, n_columns) = self._place(name, np.float32, 2)
        with self._path.open("rb") as file:
            return mapped_rows(file, offset, (n_rows, n_columns), room)

    def _place(
        self, name: str, dtype: type[np.generic], n_dimensions: int
    ) -> tuple[int, tuple[int, ...]]:
        """Return the byte offset of an array in the file, and its shape."""
        if name not in self._header:
            message = f"there is no array {name!r}, only {sorted(self._header)}"
            raise ValueError(message)
        entry = self._header[name]
        if _TYPES.get(entry["dtype"]) is not dtype or len(entry["shape"]) != n_dimensions:
            message = (
                f"{name!r} is {entry['dtype']} of shape {entry['shape']}, "
                f"not {dtype.__name__} of {n_dimensions} dimensions"
            )
            raise ValueError(message)
        return self._start + entry["data_offsets"][0], tuple(entry["shape"])
