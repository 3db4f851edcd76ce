"""Examples: input lines of an :class:`InputSchema`, as columns of its active features.

Examples are a `RecordBatch` with one column for each active feature, by its name and in the
order of the fields: float64 for a numeric feature, string for a categorical one.  Null is a
missing value: an empty field, or JSON's null.
"""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from common.lines import LineError, parse_line
from common.numeric_text import read_number
from common.schema import InputSchema

if TYPE_CHECKING:
    import pyarrow as pa

MAX_CATEGORY_BYTES = 1024

#: What a category cannot hold: XML has no such characters, or changes them.
ILLEGAL = "[\x01-\x1f\x7f-\x9f\ufffe\uffff]|\\x00"
_IS_ILLEGAL = re.compile(ILLEGAL).search
_SHOWN = 40

#: One line's active features by name; None is missing.
Datum = Mapping[str, float | str | None]


def parse_datum(line: str, schema: InputSchema, required: Collection[str] = ()) -> Datum:
    """Read one line as :func:`common.example_columns.parse` does, without the cost of columns.

    Raises
    ------
    LineError
        With the reason that :func:`common.example_columns.check` gives.
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
    """Return the value of a field; None where it is missing or cannot be read."""
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


class ExampleLines:
    """Input lines of a family that learns from examples; its ``Lines`` derive from this.

    Parameters
    ----------
    schema : InputSchema
        What the fields are.
    required : collection of str
        Active features that no line may lack.
    """

    def __init__(self, schema: InputSchema, required: Collection[str]) -> None:
        self._schema = schema
        self._required = frozenset(required)

    def check(self, lines: pa.StringArray) -> pa.StringArray:
        """Return why each line is refused, null where it is good."""
        # Whoever reads no lines needs none of what reads them: 40 MB.
        from common.example_columns import check

        return check(lines, self._schema, self._required)

    def key(self, line: str) -> str:
        """Return the line's CRC-32: examples are independent of one another."""
        return f"{zlib.crc32(line.encode()):08x}"
