"""ALS events by pair of user and item, and the one strength that a pair's events come to."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from common.apps.als.events import MAX_STRENGTH, Interactions


@dataclass(frozen=True)
class EventsByPair:
    """Events sorted by user, then item.

    Attributes
    ----------
    events : Interactions
        In the order in which they came.
    user_ids, item_ids : StringArray
        The ids in use, sorted.
    users, items : ndarray of int32, shape (n_pairs,)
        For each pair the rows of its ids.
    order : ndarray of int64, shape (n_events,)
        The events' rows, pair by pair.
    first : ndarray of bool, shape (n_events,)
        Where in this order another pair begins.
    """

    events: Interactions
    user_ids: pa.StringArray
    item_ids: pa.StringArray
    users: NDArray[np.int32]
    items: NDArray[np.int32]
    order: NDArray[np.int64]
    first: NDArray[np.bool_]

    @classmethod
    def of(cls, events: Interactions, in_time: bool) -> EventsByPair:
        """Sort events, where asked for those of a pair by time and position."""
        user_ids, users = _sorted_ids(events.users)
        item_ids, items = _sorted_ids(events.items)
        keys = users[events.users.indices.to_numpy()]
        keys *= len(item_ids)
        keys += items[events.items.indices.to_numpy()]
        if in_time:
            rows = np.lexsort((events.positions, events.timestamps))
            keys = keys[rows]
        order = sort_stably(keys, len(user_ids) * len(item_ids))
        if in_time:
            order = rows[order]
        first = np.ones(len(keys), np.bool_)
        np.not_equal(keys[1:], keys[:-1], out=first[1:])
        users, items = (code.astype(np.int32) for code in np.divmod(keys[first], len(item_ids)))
        return cls(events, user_ids, item_ids, users, items, order, first)

    def last(self) -> NDArray[np.int64]:
        """Return the row of each pair's last event."""
        return self.order[np.roll(self.first, -1)]

    def strengths(self, implicit: bool, log_strength: bool, epsilon: float) -> NDArray[np.float64]:
        """Return one strength for each pair; see :func:`aggregate`."""
        values = self._sums() if implicit else self.events.values[self.last()]
        return _logarithm(values, epsilon) if log_strength else values

    def _sums(self) -> NDArray[np.float64]:
        """Return each pair's sum: from its first event, or its last delete, on."""
        values = self.events.values[self.order]
        deletes = np.isnan(values)
        values[deletes] = 0.0
        begins = np.flatnonzero(self.first | deletes)
        sums = np.add.reduceat(values, begins)[np.roll(self.first[begins], -1)]
        # A sum must stay a float32, as the rating that a trainer makes of it.
        np.clip(sums, -MAX_STRENGTH, MAX_STRENGTH, out=sums)
        sums[deletes[np.roll(self.first, -1)]] = np.nan
        return sums


def aggregate(
    interactions: Interactions, implicit: bool, log_strength: bool, epsilon: float
) -> Interactions:
    """Reduce events to one for each pair of user and item.

    Oryx's rule.  In order of time: implicit strengths add up, and a delete resets the sum;
    of explicit ones the last counts.  Where a delete comes last the value is NaN.

    Parameters
    ----------
    interactions : Interactions
        In any order.
    implicit : bool
        Whether strengths are counts and not ratings.
    log_strength : bool
        Whether a strength r becomes sign(r)·ln(1 + abs(r)/epsilon).
    epsilon : float
        As above.

    Returns
    -------
    Interactions
        Sorted by user, then item, and their dictionaries sorted too; timestamp and position
        are those of the pair's last event.
    """
    pairs = EventsByPair.of(interactions, in_time=True)
    last = pairs.last()
    return Interactions(
        pa.DictionaryArray.from_arrays(pairs.users, pairs.user_ids),
        pa.DictionaryArray.from_arrays(pairs.items, pairs.item_ids),
        pairs.strengths(implicit, log_strength, epsilon),
        interactions.timestamps[last],
        interactions.positions[last],
    )


def add_up_in_any_order(values: NDArray[np.float64]) -> bool:
    """Tell whether strengths come to the same sums in any order, to the last bit.

    So do integers among which no delete is, if a float64 holds their sums exactly.
    """
    # Of an integer the square is at least the magnitude; a delete makes it all NaN.
    return bool(values @ values < 2.0**52 and (np.rint(values) == values).all())


def sort_stably(keys: NDArray[np.int64], bound: int) -> NDArray[np.int64]:
    """Sort keys in place, which are at least 0 and below a bound; return their stable order."""
    n_bits = len(keys).bit_length()
    if bound >= 1 << (63 - n_bits):
        order = np.argsort(keys, kind="stable")
        keys[:] = keys[order]
        return order
    # Numbers that hold key and row are sorted many times faster than rows are by their keys.
    keys <<= n_bits
    keys |= np.arange(len(keys))
    keys.sort()
    order = keys & ((1 << n_bits) - 1)
    keys >>= n_bits
    return order


def _logarithm(values: NDArray[np.float64], epsilon: float) -> NDArray[np.float64]:
    magnitudes: NDArray[np.float64] = np.log1p(np.abs(values) / epsilon)
    return np.sign(values) * magnitudes


def _sorted_ids(column: pa.DictionaryArray) -> tuple[pa.StringArray, NDArray[np.int64]]:
    """Return the ids in use, sorted, and for each code of the column the id's row in them."""
    in_use = np.zeros(len(column.dictionary), np.bool_)
    in_use[column.indices.to_numpy()] = True
    # A dictionary may hold an id twice.
    used = column.dictionary.filter(pa.array(in_use)).dictionary_encode()
    order = pc.sort_indices(used.dictionary).to_numpy()
    rows = np.empty(len(order), np.int64)
    rows[order] = np.arange(len(order))
    found = np.zeros(len(in_use), np.int64)
    found[in_use] = rows[used.indices.to_numpy()]
    return used.dictionary.take(pa.array(order)), found
