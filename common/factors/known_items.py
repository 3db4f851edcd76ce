"""The known items of each user: a compressed base, and an overlay of the users that changed."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Rows = NDArray[np.int32]

_NONE: Rows = np.zeros(0, np.int32)
_NONE.flags.writeable = False


class KnownItems:
    """For each user the rows of the known items, and the counts of users and items.

    The base is a compressed sparse row matrix that is never written; a user whose items change
    gets an array in the overlay.  One thread may write while any number of threads read: a reader
    gets the array from before or from after a change, and may keep it.

    Parameters
    ----------
    indptr : array of int, shape (n_users + 1,), optional
        The items of user row u are ``indices[indptr[u]:indptr[u + 1]]``, without duplicates.
    indices : array of int32, optional
        Item rows; used without a copy.

    Raises
    ------
    ValueError
        If `indptr` does not partition `indices`, or an item row is negative.
    """

    def __init__(self, indptr: ArrayLike = (0,), indices: ArrayLike = ()) -> None:
        self._indptr = np.asarray(indptr)
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
        # For each item row: by how much the overlay changes the number of users that know it.
        self._item_changes = np.zeros(0, np.int32)

    def of(self, user_row: int) -> Rows:
        """Return the item rows of a user, in no particular order; may be empty."""
        changed = self._overlay.get(user_row)
        if changed is not None:
            return changed
        if user_row + 1 >= len(self._indptr):
            return _NONE
        return self._indices[self._indptr[user_row] : self._indptr[user_row + 1]]

    def add(self, user_row: int, item_rows: ArrayLike) -> None:
        """Add known items to a user; items that are known already are ignored."""
        before = self.of(user_row)
        new = np.setdiff1d(np.asarray(item_rows, np.int32), before)
        if len(new):
            self._count(new, 1)
            self._replace(user_row, np.concatenate([before, new]))

    def remove(self, user_row: int, item_rows: ArrayLike) -> None:
        """Remove known items from a user; items that are not known are ignored."""
        before = self.of(user_row)
        gone = np.isin(before, np.asarray(item_rows, np.int32))
        if gone.any():
            self._count(before[gone], -1)
            self._replace(user_row, before[~gone])

    def item_counts(self, n_items: int) -> Rows:
        """Return the number of users that know each item; shape (n_items,)."""
        counts = np.bincount(self._indices, minlength=n_items)[:n_items].astype(np.int32)
        changes = self._item_changes[:n_items]
        counts[: len(changes)] += changes
        return counts

    def user_counts(self, n_users: int) -> Rows:
        """Return the number of items that each user knows; shape (n_users,)."""
        counts = np.zeros(n_users, np.int32)
        lengths = np.diff(self._indptr[: n_users + 1])
        counts[: len(lengths)] = lengths
        for row, items in self._overlay.copy().items():
            if row < n_users:
                counts[row] = len(items)
        return counts

    def select(self, user_rows: ArrayLike, new_items: Rows) -> KnownItems:
        """Return a copy for a selection of users, with renumbered items.

        Parameters
        ----------
        user_rows : array of int
            Old rows of the users, in the order of their new rows.
        new_items : ndarray of int32
            The new row of each old item row; -1 drops the item.
        """
        item_rows = [new_items[self.of(int(row))] for row in np.asarray(user_rows, np.int64)]
        item_rows = [rows[rows >= 0] for rows in item_rows]
        indptr = np.cumsum([0, *map(len, item_rows)])
        return KnownItems(indptr, np.concatenate([_NONE, *item_rows]))

    def _replace(self, user_row: int, item_rows: Rows) -> None:
        item_rows.flags.writeable = False
        self._overlay[user_row] = item_rows

    def _count(self, item_rows: Rows, change: int) -> None:
        """Add `change` to the counts of `item_rows`, which are distinct."""
        n_rows = int(item_rows.max()) + 1
        if n_rows > len(self._item_changes):
            # Twice the needed size; pages that are never written take no memory.
            grown = np.zeros(2 * n_rows, np.int32)
            grown[: len(self._item_changes)] = self._item_changes
            self._item_changes = grown
        self._item_changes[item_rows] += change
