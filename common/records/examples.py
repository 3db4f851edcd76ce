"""Parses one input line of an :class:`InputSchema`; says why values are refused.

In bulk, examples are a `RecordBatch` with one column for each active feature, by name and in
the order of the fields: float64 for a numeric feature, string for a categorical one.  Null is
a missing value: an empty field, or JSON's null.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from common.base.lines import LineError, parse_line
from common.base.numeric_text import read_number
from common.records.schema import InputSchema

if TYPE_CHECKING:
    pass

MAX_CATEGORY_BYTES = 1024

#: Characters refused in a category: XML cannot hold them, or changes them.
ILLEGAL = "[\x01-\x1f\x7f-\x9f\ufffe\uffff]|\\x00"
_IS_ILLEGAL = re.compile(ILLEGAL).search
_SHOWN = 40

#: One line's active features by name; None is a missing value.
Datum = Mapping[str, float | str | None]


def parse_datum(line: str, schema: InputSchema, required: Collection[str] = ()) -> Datum:
    """Parse one line as :func:`common.records.columns.parse` does, without building columns.

    Raises
    ------
    LineError
        With the reason that it gives.
    """
    fields = parse_line(line)
    if len(fields) != len(schema.names):
        message = f"{len(fields)} fields, not {len(schema.names)}"
        raise LineError(message)
    datum = {}
    for name, field in zip(schema.active, schema.active_fields, strict=True):
        text = fields[field]
        datum[name] = value = _value(text, name in schema.numeric)
        if value is None and (text or name in required):
            raise LineError(refusal(name, text or None, name in schema.numeric))
    return datum


def _value(text: str, numeric: bool) -> float | str | None:
    """Return the value of a field; None if it is missing or refused."""
    if not text:
        return None
    if numeric:
        number = read_number(text)
        return None if math.isnan(number) else number
    return None if _IS_ILLEGAL(text) or len(text.encode()) > MAX_CATEGORY_BYTES else text


def refusal(name: str, text: str | None, numeric: bool) -> str:
    """Return why a feature's value is refused."""
    if text is None:
        return f"missing_value: the feature {name!r} has no value"
    if numeric:
        shown = text[:_SHOWN]
        return f"not_a_number: the feature {name!r} is not a finite number: {shown!r}"
    return (
        f"bad_category: the feature {name!r} has more than {MAX_CATEGORY_BYTES} bytes "
        "or a control character"
    )
