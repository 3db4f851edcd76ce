"""Ids of rows: which id a row has, and which row an id has, without an object for each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count, repeat
from typing import overload

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

_CHUNK = 65_536


class Ids(Sequence[str]):
    """All different ids, numbered in order; more can be appended.

    Those that were there at the start may stay in an Arrow array, and cost eight bytes each
    beside it; a look-up among them takes about a microsecond.  Those in a list, or appended,
    are held in a dictionary: a hundred bytes each, and a twentieth of the time.

    One thread appends, and any number may read.

    Parameters
    ----------
    ids : StringArray or sequence of str
        Ids of the first rows.

    Raises
    ------
    ValueError
        If an id comes twice.
    """

    def __init__(self, ids: pa.StringArray | Sequence[str] = ()) -> None:
        is_array = isinstance(ids, pa.Array)
        self._base: pa.StringArray = ids if is_array else pa.array([], pa.string())
        self._n_base = len(self._base)
        self._table = _Table(self._base)
        self._added: list[str] = [] if is_array else list(ids)
        self._rows: dict[str, int] = {}
        self.publish()
        if len(self._rows) != len(self._added):
            raise _doubled(len(self._added) - len(self._rows))

    def __len__(self) -> int:
        """Return the number of ids."""
        return self._n_base + len(self._added)

    @overload
    def __getitem__(self, row: int) -> str: ...

    @overload
    def __getitem__(self, row: slice) -> list[str]: ...

    def __getitem__(self, row: int | slice) -> str | list[str]:
        """Return the id of a row, or those of several."""
        if isinstance(row, slice):
            return [self[number] for number in range(*row.indices(len(self)))]
        at = row + len(self) if row < 0 else row
        if at >= self._n_base:
            return self._added[at - self._n_base]
        if at < 0:
            message = f"row {row} of {len(self)}"
            raise IndexError(message)
        id: str = self._base[at].as_py()
        return id

    def __iter__(self) -> Iterator[str]:
        """Yield the ids in order."""
        for start in range(0, self._n_base, _CHUNK):
            yield from self._base.slice(start, _CHUNK).to_pylist()
        yield from self._added

    def __contains__(self, id: object) -> bool:
        """Tell whether `id` has a row."""
        return isinstance(id, str) and self.row(id) is not None

    def row(self, id: str) -> int | None:
        """Return the row of `id`, None where it has none."""
        row = self._rows.get(id)
        return self._row_in_base(id) if row is None and self._n_base else row

    def rows(self, ids: Sequence[str]) -> NDArray[np.int64]:
        """Return the rows of `ids`, -1 where one has none."""
        rows = np.fromiter(map(self._rows.get, ids, repeat(-1)), np.int64, len(ids))
        if self._n_base:
            for at in np.flatnonzero(rows < 0).tolist():
                row = self._row_in_base(ids[at])
                rows[at] = -1 if row is None else row
        return rows

    def append(self, new: Sequence[str]) -> None:
        """Append ids that have no row yet; :meth:`row` finds them after :meth:`publish`."""
        self._added.extend(new)

    def publish(self) -> None:
        """Let :meth:`row` find what was appended."""
        first = len(self._rows)
        self._rows.update(zip(self._added[first:], count(self._n_base + first)))

    def _row_in_base(self, id: str) -> int | None:
        rows = self._table.rows(id)
        return next((row for row in rows if self._base[row].as_py() == id), None)


class _Table:
    """Rows of ids by the hash of their text: rows of one bucket lie side by side."""

    def __init__(self, ids: pa.StringArray) -> None:
        hashes = np.empty(len(ids), np.int64)
        for start in range(0, len(ids), _CHUNK):
            chunk = ids.slice(start, _CHUNK).to_pylist()
            hashes[start : start + _CHUNK] = np.fromiter(map(hash, chunk), np.int64, len(chunk))
        _check_different(ids, hashes)
        self._mask = (1 << len(ids).bit_length()) - 1
        buckets = hashes & self._mask
        self._order = np.argsort(buckets).astype(np.int32)
        ends = np.cumsum(np.bincount(buckets, minlength=self._mask + 1), dtype=np.int32)
        self._starts: NDArray[np.int32] = np.concatenate([np.zeros(1, np.int32), ends])

    def rows(self, id: str) -> list[int]:
        """Return the rows whose ids share a bucket with `id`."""
        bucket = hash(id) & self._mask
        rows: list[int] = self._order[self._starts[bucket] : self._starts[bucket + 1]].tolist()
        return rows


def _check_different(ids: pa.StringArray, hashes: NDArray[np.int64]) -> None:
    if (np.diff(np.sort(hashes)) == 0).any():
        # Equal hashes of different ids are possible, and no harm.
        doubled = len(ids) - len(ids.unique())
        if doubled:
            raise _doubled(doubled)


def _doubled(number: int) -> ValueError:
    return ValueError(f"{number} ids come more than once")
