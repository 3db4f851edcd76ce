"""Maps rows to ids and ids to rows, without a Python object for each id."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain, count, repeat
from typing import overload

import numpy as np
from numpy.typing import NDArray

from common.factors.columns import Texts

_NO_TEXTS = Texts(np.zeros(1, np.int32), b"")


class Ids(Sequence[str]):
    """Distinct ids, numbered in order; more can be appended.

    The initial ids may stay in a :class:`common.factors.columns.Texts`: they cost five bytes each
    beside it, and a look-up takes about a microsecond.  Ids from a list and appended ids are in a
    dictionary: they cost a hundred bytes each, and a look-up takes a twentieth of the time.

    One thread may append while any number of threads read.

    Parameters
    ----------
    ids : Texts or sequence of str
        The initial ids.

    Raises
    ------
    ValueError
        If an id occurs twice.
    """

    def __init__(self, ids: Sequence[str] = ()) -> None:
        in_column = isinstance(ids, Texts)
        self._base: Texts = ids if isinstance(ids, Texts) else _NO_TEXTS
        self._n_base = len(self._base)
        self._table = _Table(self._base)
        self._added: list[str] = [] if in_column else list(ids)
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
        """Return the id of a row, or the ids of a slice of rows."""
        if isinstance(row, slice):
            return [self[number] for number in range(*row.indices(len(self)))]
        at = row + len(self) if row < 0 else row
        if at >= self._n_base:
            return self._added[at - self._n_base]
        if at < 0:
            message = f"row {row} of {len(self)}"
            raise IndexError(message)
        return self._base[at]

    def __iter__(self) -> Iterator[str]:
        """Yield the ids in order."""
        return chain(self._base, self._added)

    def __contains__(self, id: object) -> bool:
        """Return whether `id` has a row."""
        return isinstance(id, str) and self.row(id) is not None

    def row(self, id: str) -> int | None:
        """Return the row of `id`; None if it has none."""
        row = self._rows.get(id)
        return self._table.row(id) if row is None and self._n_base else row

    def rows(self, ids: Sequence[str]) -> NDArray[np.int64]:
        """Return the rows of `ids`; -1 for an id without a row."""
        rows = np.fromiter(map(self._rows.get, ids, repeat(-1)), np.int64, len(ids))
        if self._n_base:
            for at in np.flatnonzero(rows < 0).tolist():
                row = self._table.row(ids[at])
                rows[at] = -1 if row is None else row
        return rows

    def append(self, new: Sequence[str]) -> None:
        """Append ids that have no row yet; :meth:`row` finds them only after :meth:`publish`."""
        self._added.extend(new)

    def publish(self) -> None:
        """Make the appended ids visible to :meth:`row`."""
        first = len(self._rows)
        self._rows.update(zip(self._added[first:], count(self._n_base + first)))


class _Table:
    """A hash table from encoded ids to rows; the rows of a bucket are contiguous.

    A bucket has up to four rows on average: fewer would enlarge the table for little speed.
    """

    def __init__(self, ids: Texts) -> None:
        self._ids = ids
        hashes = np.empty(len(ids), np.int64)
        end = 0
        for chunk in ids.chunks():
            start, end = end, end + len(chunk)
            hashes[start:end] = np.fromiter(map(hash, chunk), np.int64, len(chunk))
        _check_different(ids, hashes)
        self._mask = (1 << max(len(ids).bit_length() - 2, 0)) - 1
        buckets = hashes & self._mask
        ends = np.cumsum(np.bincount(buckets, minlength=self._mask + 1), dtype=np.int32)
        # A memoryview reads single numbers faster than NumPy.
        self._order = np.argsort(buckets).astype(np.int32).data
        self._starts = np.concatenate([np.zeros(1, np.int32), ends]).data

    def row(self, id: str) -> int | None:
        """Return the row of `id`; None if it has none."""
        # Lone surrogates never match a stored id.
        encoded = id.encode(errors="surrogatepass")
        bucket = hash(encoded) & self._mask
        for row in self._order[self._starts[bucket] : self._starts[bucket + 1]]:
            if self._ids.is_at(row, encoded):
                return row
        return None


def _check_different(ids: Texts, hashes: NDArray[np.int64]) -> None:
    if (np.diff(np.sort(hashes)) == 0).any():
        # Distinct ids may have equal hashes.
        doubled = len(ids) - len(set(ids))
        if doubled:
            raise _doubled(doubled)


def _doubled(number: int) -> ValueError:
    return ValueError(f"{number} ids come more than once")
