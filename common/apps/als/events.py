"""ALS events: from lines to columns of users, items and strengths.

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

from common.api import Read
from common.base.numeric_text import MAX_NUMBER, read_numbers
from common.records.line_columns import plain_columns, sparse_strings, split_columns

log = logging.getLogger(__name__)

MAX_ID_BYTES = 1024
MAX_STRENGTH = MAX_NUMBER

#: Columns of what is read.
_NAMES = ["user", "item", "strength", "timestamp", "timestamp_text"]
_IDS = pa.dictionary(pa.int32(), pa.string())
#: Of a line's tokens.  Integers are strings: Arrow would take hexadecimal ones too.
_KINDS = (_IDS, _IDS, pa.float64(), pa.string())
#: Lines from which on it pays to prepare for reading in bulk.
_MANY = 2000
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


def read(lines: pa.StringArray) -> Read:
    """Read lines: in bulk where all of them are plain and good, else by every rule.

    Returns
    -------
    Read
        Columns ``user`` and ``item`` (dictionaries of strings, int32 indices), ``strength``
        (float64; null where the line names none, NaN where it is empty), ``timestamp`` (int64,
        ms; null where it is missing or empty) and ``timestamp_text`` (as it is written; null
        where it is missing).  A reason is ``code: message`` with the code ``empty_id``,
        ``id_too_long``, ``bad_id``, ``bad_strength`` or ``bad_timestamp``, or a message alone
        where the line has no fields to speak of.
    """
    lines = lines.cast(pa.string())
    return (_read_plain(lines) if len(lines) >= _MANY else None) or _read_any(lines)


def interactions(records: pa.RecordBatch, columns: pa.RecordBatch) -> Interactions:
    """Return events that have been read.

    Parameters
    ----------
    records : RecordBatch
        Where each came from: columns ``partition, offset, timestamp`` (integers; ms).
    columns : RecordBatch
        Those of :func:`read`, row for row; all of them good.
    """
    timestamps = pc.coalesce(columns["timestamp"], records["timestamp"].cast(pa.int64()))
    partitions, offsets = (
        records[name].to_numpy(zero_copy_only=False).astype(np.int64)
        for name in ("partition", "offset")
    )
    return Interactions(
        columns["user"],
        columns["item"],
        pc.fill_null(columns["strength"], 1.0).to_numpy(zero_copy_only=False),
        timestamps.to_numpy(zero_copy_only=False),
        partitions * _OFFSETS + offsets,
    )


def parse(rows: pa.RecordBatch) -> Interactions:
    """Read rows of the history; a line that :func:`read` refuses is left out, with a warning.

    Parameters
    ----------
    rows : RecordBatch
        Columns ``partition, offset, timestamp`` (integers; ms) and ``value`` (string).
    """
    columns, reasons = read(rows["value"])
    n_bad = len(reasons) - reasons.null_count
    if n_bad:
        log.warning("%d lines left out; the first: %s", n_bad, reasons.drop_null()[0])
        rows, columns = rows.filter(reasons.is_null()), columns.filter(reasons.is_null())
    return interactions(rows, columns)


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


def _read_plain(lines: pa.StringArray) -> Read | None:
    """Read lines of one form, none with quotes and the like; None where one may be refused."""
    n_tokens = str(lines[0]).count(",") + 1
    if not 2 <= n_tokens <= len(_KINDS):
        return None
    columns = plain_columns(lines, n_tokens, dict(enumerate(_KINDS[:n_tokens])))
    if columns is None:
        return None
    missing = [pa.nulls(len(lines), pa.float64()), pa.nulls(len(lines), pa.string())]
    users, items, strengths, times = columns + missing[n_tokens - 2 :]
    timestamps, bad_times = _timestamps(times)
    in_range = pc.all(pc.less_equal(pc.abs(strengths), MAX_STRENGTH), min_count=0)
    if bad_times.any() or not (in_range.as_py() and _are_good(users) and _are_good(items)):
        return None
    # So far an empty token is null, as a missing one is.
    if n_tokens > 2:
        strengths = pa.array(strengths.to_numpy(zero_copy_only=False))
    if n_tokens > 3:
        times = pc.fill_null(times, "")
    found = _columns(users, items, strengths, timestamps, times)
    return Read(found, pa.nulls(len(lines), pa.string()))


def _columns(*columns: pa.Array) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays(list(columns), names=_NAMES)


def _are_good(ids: pa.DictionaryArray) -> bool:
    rules = _id_rules("id", ids.dictionary)
    return not ids.null_count and not any(broken.any() for broken in rules.values())


def _read_any(lines: pa.StringArray) -> Read:
    """Split lines, read their numbers, and apply every rule; the first that fails is named."""
    (users, items, strengths, times), reasons = split_columns(lines, 2, 4)
    numbers, bad_strengths = _strengths(strengths)
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
    ids = (users.dictionary_encode(), items.dictionary_encode())
    return Read(_columns(*ids, numbers, timestamps, times), reasons)


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


def _strengths(texts: pa.StringArray) -> tuple[pa.DoubleArray, NDArray[np.bool_]]:
    """Return strengths (null where missing, NaN where empty) and where they are no numbers."""
    missing, empty = _mask(texts.is_null()), _mask(pc.equal(texts, ""))
    # An empty text among them would keep the numbers from being read in one go.
    given = pc.if_else(pa.array(empty), None, texts) if empty.any() else texts
    numbers = read_numbers(given)
    return pa.array(numbers, mask=missing), np.isnan(numbers) & ~missing & ~empty


def _timestamps(texts: pa.StringArray) -> tuple[pa.Int64Array, NDArray[np.bool_]]:
    """Return timestamps (null where missing or empty) and where they are not as they should."""
    is_short = pc.less(pc.binary_length(texts), len(_MAX_TIMESTAMP))
    if pc.all(pc.and_(pc.ascii_is_decimal(texts), is_short), min_count=0).as_py():
        plain = texts.cast(pa.int64())
        return plain, _mask(pc.equal(plain, 0))
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
    if values.null_count:
        values = pc.fill_null(values, False)
    found: NDArray[np.bool_] = values.to_numpy(zero_copy_only=False)
    return found
