"""Which items each user has dealt with: compact where nothing changed, an overlay where it did."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Rows = NDArray[np.int32]

_NONE: Rows = np.zeros(0, np.int32)
_NONE.flags.writeable = False


class KnownItems:
    """For each user the rows of the items known to him, and how many of each there are.

    The base is a compressed sparse row matrix that is never written; a user whose items change
    gets an array of his own in an overlay.  One thread may write while any number read: a
    reader gets an array from before a change or from after it, and may keep it.

    Parameters
    ----------
    indptr : array of int, shape (n_users + 1,), optional
        The items of user row u are ``indices[indptr[u]:indptr[u + 1]]``; none of them twice.
    indices : array of int32, optional
        Item rows; taken over, not copied.

    Raises
    ------
    ValueError
        If the two do not fit together, or an item row is negative.
    """

    def __init__(self, indptr: ArrayLike = (0,), indices: ArrayLike = ()) -> None:
        self._indptr = np.asarray(indptr, np.int64)
        self._indices = np.asarray(indices, np.int32)
        lengths = np.diff(self._indptr)
        ends = (self._indptr[0], self._indptr[-1]) if len(self._indptr) else (0, -1)
        if ends != (0, len(self._indices)) or (lengths < 0).any():
            message = f"indptr does not divide the {len(self._indices)} indices among users"
            raise ValueError(message)
        if len(self._indices) and self._indices.min() < 0:
            message = f"negative item row {self._indices.min()}"
            raise ValueError(message)
        self._overlay: dict[int, Rows] = {}
        self._user_counts = lengths.astype(np.int32)
        self._item_counts = np.bincount(self._indices).astype(np.int32)

    def of(self, user_row: int) -> Rows:
        """Return the item rows of a user, in no order; empty where there are none."""
        changed = self._overlay.get(user_row)
        if changed is not None:
            return changed
        if user_row + 1 >= len(self._indptr):
            return _NONE
        return self._indices[self._indptr[user_row] : self._indptr[user_row + 1]]

    def add(self, user_row: int, item_rows: ArrayLike) -> None:
        """Make items known to a user; those that are so already change nothing."""
        before = self.of(user_row)
        new = np.setdiff1d(np.asarray(item_rows, np.int32), before)
        if len(new):
            self._item_counts = _counted(self._item_counts, new, 1)
            self._replace(user_row, np.concatenate([before, new]))

    def remove(self, user_row: int, item_rows: ArrayLike) -> None:
        """Make items unknown to a user; those that are so already change nothing."""
        before = self.of(user_row)
        gone = np.isin(before, np.asarray(item_rows, np.int32))
        if gone.any():
            self._item_counts = _counted(self._item_counts, before[gone], -1)
            self._replace(user_row, before[~gone])

    def item_counts(self, n_items: int) -> Rows:
        """Return for each of the first `n_items` item rows how many users know the item."""
        return _sized(self._item_counts, n_items)

    def user_counts(self, n_users: int) -> Rows:
        """Return for each of the first `n_users` user rows how many items the user knows."""
        return _sized(self._user_counts, n_users)

    def select(self, user_rows: ArrayLike, new_items: Rows) -> KnownItems:
        """Return a copy for some users, with the items numbered anew.

        Parameters
        ----------
        user_rows : array of int
            Old rows of the users, in the order of their new ones.
        new_items : ndarray of int32
            The new row of each old item row, -1 where an item goes.
        """
        kept = [new_items[self.of(int(row))] for row in np.asarray(user_rows, np.int64)]
        kept = [rows[rows >= 0] for rows in kept]
        indptr = np.cumsum([0, *map(len, kept)])
        return KnownItems(indptr, np.concatenate([_NONE, *kept]))

    def _replace(self, user_row: int, item_rows: Rows) -> None:
        item_rows.flags.writeable = False
        self._overlay[user_row] = item_rows
        if user_row >= len(self._user_counts):
            self._user_counts = _grown(self._user_counts, user_row)
        self._user_counts[user_row] = len(item_rows)


def _counted(counts: Rows, rows: Rows, change: int) -> Rows:
    """Add `change` to the counts of `rows`, none of which comes twice."""
    if len(rows) and rows.max() >= len(counts):
        counts = _grown(counts, int(rows.max()))
    counts[rows] += change
    return counts


def _grown(counts: Rows, row: int) -> Rows:
    """Return a copy in which there is room for `row`, and for as many again."""
    return np.concatenate([counts, np.zeros(row + 1, np.int32)])


def _sized(counts: Rows, size: int) -> Rows:
    """Return a copy of just `size` counts: the caller's own, as it was at one moment."""
    sized = np.zeros(size, np.int32)
    held = counts[:size]
    sized[: len(held)] = held
    return sized
