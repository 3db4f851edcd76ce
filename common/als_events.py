"""ALS events: from lines to columns of users, items and strengths, and what these add up to.

A line is ``user,item[,strength[,timestamp]]``: no strength means 1, an empty one deletes; the
timestamp is in ms since 1970, and Kafka's own stands in where it is missing.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from common.lines import sparse_strings, split_columns
from common.numeric_text import MAX_NUMBER, read_numbers

log = logging.getLogger(__name__)

MAX_ID_BYTES = 1024
MAX_STRENGTH = MAX_NUMBER

_MS_PER_DAY = 86_400_000
_MAX_TIMESTAMP = str(2**63 - 1)
#: Kafka offsets stay far below this, so that a partition and an offset fit into one int64.
_OFFSETS = 1 << 48


@dataclass(frozen=True)
class Interactions:
    """Events as columns of equal length.

    Attributes
    ----------
    users, items : DictionaryArray of string, int32 indices
        Who, and with what.
    values : ndarray of float64
        Strengths; NaN deletes.
    timestamps : ndarray of int64
        Milliseconds since 1970.
    positions : ndarray of int64
        Order of events with equal timestamps: by partition, then offset.
    """

    users: pa.DictionaryArray
    items: pa.DictionaryArray
    values: NDArray[np.float64]
    timestamps: NDArray[np.int64]
    positions: NDArray[np.int64]

    def __len__(self) -> int:
        """Return the number of events."""
        return len(self.values)

    def take(self, rows: NDArray[Any]) -> Interactions:
        """Return the events of these rows, given by number or as a mask."""
        numbers = np.flatnonzero(rows) if rows.dtype == np.bool_ else rows
        picked = pa.array(numbers)
        return Interactions(
            self.users.take(picked),
            self.items.take(picked),
            self.values[numbers],
            self.timestamps[numbers],
            self.positions[numbers],
        )


@dataclass(frozen=True)
class _Lines:
    """Lines as columns, with the reason for each that cannot be read."""

    users: pa.StringArray
    items: pa.StringArray
    values: NDArray[np.float64]
    timestamps: pa.Int64Array
    reasons: pa.StringArray


def check(lines: pa.StringArray) -> pa.StringArray:
    """Return why each line is refused, null where it is good.

    A reason is ``code: message`` with the code ``empty_id``, ``id_too_long``, ``bad_id``,
    ``bad_strength`` or ``bad_timestamp``, or a message alone where the line has no fields to
    speak of.
    """
    return _read(lines).reasons


def parse(events: pa.RecordBatch) -> Interactions:
    """Read events; a line that :func:`check` refuses is left out, with a warning.

    Parameters
    ----------
    events : RecordBatch
        Columns ``partition, offset, timestamp`` (integers; ms) and ``value`` (string).
    """
    lines = _read(events["value"])
    timestamps = pc.coalesce(lines.timestamps, events["timestamp"].cast(pa.int64()))
    partitions, offsets = (
        events[name].to_numpy(zero_copy_only=False).astype(np.int64)
        for name in ("partition", "offset")
    )
    found = Interactions(
        lines.users.dictionary_encode(),
        lines.items.dictionary_encode(),
        lines.values,
        timestamps.to_numpy(zero_copy_only=False),
        partitions * _OFFSETS + offsets,
    )
    n_bad = len(lines.reasons) - lines.reasons.null_count
    if not n_bad:
        return found
    log.warning("%d lines left out; the first: %s", n_bad, lines.reasons.drop_null()[0])
    return found.take(lines.reasons.is_null().to_numpy(zero_copy_only=False))


def decay(
    interactions: Interactions, now: int, factor: float, zero_threshold: float
) -> Interactions:
    """Weaken strengths by age, and drop those that have become too weak.

    Oryx's rule: times ``factor`` to the power of the age in days, where timestamps after `now`
    have no age.  Unlike there, `zero_threshold` compares magnitudes and deletes stay.

    Parameters
    ----------
    interactions : Interactions
        The events.
    now : int
        Milliseconds since 1970.
    factor : float
        Above 0; 1 weakens nothing.
    zero_threshold : float
        Strengths of at most this magnitude are dropped; 0 drops none.
    """
    if factor == 1.0 and zero_threshold == 0.0:
        return interactions
    age = np.maximum(now - interactions.timestamps, 0) / _MS_PER_DAY
    values = interactions.values * factor**age
    weak = (np.abs(values) <= zero_threshold) & (zero_threshold > 0)
    decayed = Interactions(
        interactions.users,
        interactions.items,
        values,
        interactions.timestamps,
        interactions.positions,
    )
    return decayed.take(~weak)


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
    if not len(interactions):
        return interactions
    users, user_codes = _sorted_codes(interactions.users)
    items, item_codes = _sorted_codes(interactions.items)
    pairs = user_codes * len(items) + item_codes
    order = np.lexsort((interactions.positions, interactions.timestamps, pairs))
    first = np.r_[True, np.diff(pairs[order]) != 0]
    last = np.r_[first[1:], True]
    values = interactions.values[order]
    totals = _sums(values, first)[last] if implicit else values[last]
    kept = order[last]
    return Interactions(
        _dictionary(user_codes[kept], users),
        _dictionary(item_codes[kept], items),
        _logarithm(totals, epsilon) if log_strength else totals,
        interactions.timestamps[kept],
        interactions.positions[kept],
    )


def _sums(values: NDArray[np.float64], first: NDArray[np.bool_]) -> NDArray[np.float64]:
    """For each event the sum of its run: from the pair's first, or its last delete, on."""
    deletes = np.isnan(values)
    runs = np.cumsum(first | deletes) - 1
    sums = np.bincount(runs, weights=np.where(deletes, 0.0, values))
    # A sum must stay a float32, as the rating that a trainer makes of it.
    bounded = np.clip(sums, -MAX_STRENGTH, MAX_STRENGTH)
    return np.where(deletes, np.nan, bounded[runs])


def _logarithm(values: NDArray[np.float64], epsilon: float) -> NDArray[np.float64]:
    magnitudes: NDArray[np.float64] = np.log1p(np.abs(values) / epsilon)
    return np.sign(values) * magnitudes


def _sorted_codes(column: pa.DictionaryArray) -> tuple[pa.StringArray, NDArray[np.int64]]:
    """Return the sorted dictionary of the ids in use, and each row's number in it."""
    used = column.cast(pa.string()).dictionary_encode()
    order = pc.sort_indices(used.dictionary).to_numpy()
    ranks = np.empty(len(order), np.int64)
    ranks[order] = np.arange(len(order))
    return used.dictionary.take(pa.array(order)), ranks[used.indices.to_numpy()]


def _dictionary(codes: NDArray[np.int64], ids: pa.StringArray) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(codes.astype(np.int32), ids)


def _read(lines: pa.StringArray) -> _Lines:
    """Split lines, read their numbers, and apply every rule; the first that fails is named."""
    (users, items, strengths, times), reasons = split_columns(lines.cast(pa.string()), 2, 4)
    values, bad_strengths = _strengths(strengths)
    timestamps, bad_times = _timestamps(times)
    rules = {
        **_id_rules("user", users),
        **_id_rules("item", items),
        "bad_strength: the strength is not a finite number": bad_strengths,
        "bad_timestamp: the timestamp is not a positive integer below 2^63": bad_times,
    }
    broken = reduce(np.logical_or, rules.values()) & ~_mask(reasons.is_valid())
    if broken.any():
        found = {row: _first(rules, row) for row in np.flatnonzero(broken)}
        reasons = pc.coalesce(reasons, sparse_strings(found, len(lines)))
    return _Lines(users, items, values, timestamps, reasons)


def _first(rules: dict[str, NDArray[np.bool_]], row: Any) -> str:
    return next(text for text, broken in rules.items() if broken[row])


def _id_rules(side: str, ids: pa.StringArray) -> dict[str, NDArray[np.bool_]]:
    length = pc.binary_length(ids)
    too_long = f"id_too_long: the {side} has more than {MAX_ID_BYTES} bytes"
    control = f"bad_id: the {side} holds a control character"
    return {
        f"empty_id: the {side} is empty": _mask(pc.equal(length, 0)),
        too_long: _mask(pc.greater(length, MAX_ID_BYTES)),
        control: _mask(pc.match_substring_regex(ids, r"\p{Cc}")),
    }


def _strengths(texts: pa.StringArray) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return strengths (1 where missing, NaN where empty) and where they are no numbers."""
    given = _mask(texts.is_valid()) & ~_mask(pc.equal(texts, ""))
    numbers = read_numbers(texts.filter(pa.array(given)))
    values = np.where(_mask(texts.is_null()), 1.0, np.nan)
    values[given] = numbers
    bad = given.copy()
    bad[given] = np.isnan(numbers)
    return values, bad


def _timestamps(texts: pa.StringArray) -> tuple[pa.Int64Array, NDArray[np.bool_]]:
    """Return timestamps (null where missing or empty) and where they are not as they should."""
    trimmed = pc.ascii_trim_whitespace(texts)
    length = pc.binary_length(trimmed)
    short = pc.less(length, len(_MAX_TIMESTAMP))
    fits = pc.or_(
        short,
        pc.and_(pc.equal(length, len(_MAX_TIMESTAMP)), pc.less_equal(trimmed, _MAX_TIMESTAMP)),
    )
    is_number = pc.and_(pc.ascii_is_decimal(trimmed), fits)
    numbers = pc.if_else(is_number, trimmed, None).cast(pa.int64())
    missing = _mask(pc.equal(texts, "")) | _mask(texts.is_null())
    return numbers, ~missing & ~_mask(pc.greater(numbers, 0))


def _mask(values: pa.BooleanArray) -> NDArray[np.bool_]:
    """Return a mask, False where a value is null."""
    found: NDArray[np.bool_] = pc.fill_null(values, False).to_numpy(zero_copy_only=False)
    return found
