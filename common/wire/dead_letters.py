"""Dead letters: why a record is refused, and what the dead-letter topic keeps of it.

Batch and speed layer read lines by the same function, or they would learn from different events.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from common.api import Read
from common.base.hashing import sha256_hex

NULL_VALUE = "null_value"
TOO_LARGE = "too_large"
PARSE = "parse"

#: How a family reads lines: :meth:`common.api.InputLines.read`.
ReadLines = Callable[[pa.StringArray], Read]


def read_values(values: pa.BinaryArray, read: ReadLines, max_bytes: int) -> Read:
    """Read records of the input topic.

    Parameters
    ----------
    values : BinaryArray
        The records' values as the broker has them.
    read : callable
        The family's reading; it is given the lines that are text of a lawful length.
    max_bytes : int
        ``input_topic.max_line_bytes``.

    Returns
    -------
    Read
        The family's columns, one row for each value; a reason is ``null_value``,
        ``too_large: …`` or ``parse: …``.
    """
    lines = _decoded(values)
    longest = pc.max(pc.binary_length(values)).as_py() or 0
    if lines is not None and not values.null_count and longest <= max_bytes:
        columns, theirs = read(lines)
        return Read(columns, _parse_errors(theirs))
    ours = pa.array([_refusal(value.as_py(), max_bytes) for value in values], pa.string())
    usable = pc.is_null(ours)
    columns, theirs = read(values.filter(usable).cast(pa.string()))
    rows = pc.subtract(pc.cumulative_sum(usable.cast(pa.int64())), 1)
    columns = columns.take(pc.if_else(usable, rows, pa.scalar(None, pa.int64())))
    return Read(columns, pc.replace_with_mask(ours, usable, _parse_errors(theirs)))


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One refused record.

    Attributes
    ----------
    topic, partition, offset
        Its position in the topic that it was read from.
    layer : str
        Which layer refused it.
    reason : str
        ``code`` or ``code: message``; of an input line as :func:`read_values` says.
    value : bytes or None
        The record's value, unchanged.
    """

    topic: str
    partition: int
    offset: int
    layer: str
    reason: str
    value: bytes | None

    def record(self, max_bytes: int | None = None) -> tuple[bytes, list[tuple[str, bytes]]]:
        """Return value and headers of its record on the dead-letter topic.

        The value is the original one.  If it was refused as too large, or has more than
        `max_bytes` bytes, the record keeps only its length and SHA-256, so that large values do
        not fill the topic.
        """
        value = self.value or b""
        headers: dict[str, object] = {
            "topic": self.topic,
            "partition": self.partition,
            "offset": self.offset,
            "layer": self.layer,
            "reason": self.reason,
        }
        if self.reason.startswith(TOO_LARGE) or (max_bytes is not None and len(value) > max_bytes):
            headers |= {"bytes": len(value), "sha256": sha256_hex(value)}
            value = b""
        return value, [(name, str(content).encode()) for name, content in headers.items()]


def _decoded(values: pa.BinaryArray) -> pa.StringArray | None:
    try:
        return values.cast(pa.string())
    except pa.ArrowInvalid:
        return None


def _refusal(value: bytes | None, max_bytes: int) -> str | None:
    if value is None:
        return NULL_VALUE
    if len(value) > max_bytes:
        return f"{TOO_LARGE}: {len(value)} bytes, at most {max_bytes} are allowed"
    try:
        value.decode()
    except UnicodeDecodeError as error:
        return f"{PARSE}: not UTF-8: {error.reason} at byte {error.start}"
    return None


def _parse_errors(reasons: pa.StringArray) -> pa.StringArray:
    if reasons.null_count == len(reasons):
        return reasons
    return pc.binary_join_element_wise(pa.scalar(PARSE), reasons, ": ")
