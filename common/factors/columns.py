"""Texts and lists in Arrow's layout: all values in one array, with the offset of each row."""

from __future__ import annotations

import codecs
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import overload

import numpy as np
from numpy.typing import NDArray

Offsets = NDArray[np.int32]

_CHUNK = 65_536
_CHUNK_BYTES = 1 << 20


class Texts(Sequence[str]):
    """A sequence of texts in one UTF-8 buffer, without a Python object for each.

    Parameters
    ----------
    offsets : ndarray of int32, shape (n + 1,)
        Text i is ``data[offsets[i]:offsets[i + 1]]``.
    data : bytes-like
        All texts, concatenated; used without a copy.

    Raises
    ------
    ValueError
        If the offsets do not partition the data, or a text is not UTF-8.
    """

    def __init__(self, offsets: Offsets, data: memoryview | bytes) -> None:
        self._data = memoryview(data)
        self._offsets = offsets
        # A memoryview reads one number in a third of NumPy's time.
        self._starts = offsets.data
        _check_offsets(offsets, len(self._data))
        _check_utf8(offsets, self._data)

    def __len__(self) -> int:
        """Return the number of texts."""
        return len(self._offsets) - 1

    @overload
    def __getitem__(self, row: int) -> str: ...

    @overload
    def __getitem__(self, row: slice) -> list[str]: ...

    def __getitem__(self, row: int | slice) -> str | list[str]:
        """Return the text of a row, or the texts of a slice of rows."""
        if isinstance(row, slice):
            return [self[number] for number in range(*row.indices(len(self)))]
        at = row + len(self) if row < 0 else row
        if at < 0:
            message = f"row {row} of {len(self)}"
            raise IndexError(message)
        return str(self._data[self._starts[at] : self._starts[at + 1]], "utf-8")

    def __iter__(self) -> Iterator[str]:
        """Yield the texts in order."""
        return (text.decode() for chunk in self.chunks() for text in chunk)

    def chunks(self) -> Iterator[list[bytes]]:
        """Yield the encoded texts in order, in lists of many."""
        for start in range(0, len(self), _CHUNK):
            offsets = self._offsets[start : start + _CHUNK + 1]
            chunk = bytes(self._data[offsets[0] : offsets[-1]])
            yield [chunk[begin:end] for begin, end in pairwise((offsets - offsets[0]).tolist())]

    def is_at(self, row: int, encoded: bytes) -> bool:
        """Return whether the text of a row equals `encoded`."""
        return self._data[self._starts[row] : self._starts[row + 1]] == encoded


class Lists(Sequence[NDArray[np.int32]]):
    """A sequence of lists of numbers in one array.

    Parameters
    ----------
    offsets : ndarray of int32, shape (n + 1,)
        List i is ``values[offsets[i]:offsets[i + 1]]``.
    values : ndarray of int32
        All numbers, concatenated.

    Raises
    ------
    ValueError
        If the offsets do not partition the values.
    """

    def __init__(self, offsets: Offsets, values: NDArray[np.int32]) -> None:
        _check_offsets(offsets, len(values))
        self.offsets = offsets
        self.values = values

    def __len__(self) -> int:
        """Return the number of lists."""
        return len(self.offsets) - 1

    @overload
    def __getitem__(self, row: int) -> NDArray[np.int32]: ...

    @overload
    def __getitem__(self, row: slice) -> list[NDArray[np.int32]]: ...

    def __getitem__(self, row: int | slice) -> NDArray[np.int32] | list[NDArray[np.int32]]:
        """Return the numbers of a row, or those of a slice of rows."""
        if isinstance(row, slice):
            return [self[number] for number in range(*row.indices(len(self)))]
        at = range(len(self))[row]
        return self.values[self.offsets[at] : self.offsets[at + 1]]


def _check_offsets(offsets: Offsets, size: int) -> None:
    if (np.diff(offsets) < 0).any() or offsets[0] != 0 or offsets[-1] > size:
        message = f"offsets do not divide {size} values"
        raise ValueError(message)


def _check_utf8(offsets: Offsets, data: memoryview) -> None:
    decode = codecs.getincrementaldecoder("utf-8")().decode
    for start in range(0, len(data), _CHUNK_BYTES):
        decode(bytes(data[start : start + _CHUNK_BYTES]))
    decode(b"", final=True)
    begins = offsets[offsets < len(data)]
    # In UTF-8, all bytes of a character except the first begin with the bits 10.
    if (np.frombuffer(data, np.uint8)[begins] & 0xC0 == 0x80).any():
        message = "a text begins within a character"
        raise ValueError(message)
