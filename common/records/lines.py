"""Input lines of a family that learns from examples."""

from __future__ import annotations

import zlib
from collections.abc import Collection
from typing import TYPE_CHECKING

from common.records.schema import InputSchema

if TYPE_CHECKING:
    import pyarrow as pa


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
        # Arrow takes 34 MB: a process that reads no lines does not load it.
        from common.records.columns import check

        return check(lines, self._schema, self._required)

    def key(self, line: str) -> str:
        """Return the line's CRC-32: examples are independent of one another."""
        return f"{zlib.crc32(line.encode()):08x}"
