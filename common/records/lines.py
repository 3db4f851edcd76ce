"""Checks and keys of input lines, for families that learn from examples."""

from __future__ import annotations

import zlib
from collections.abc import Collection
from typing import TYPE_CHECKING

from common.records.schema import InputSchema

if TYPE_CHECKING:
    import pyarrow as pa


class ExampleLines:
    """Base class of the ``Lines`` of a family that learns from examples.

    Parameters
    ----------
    schema : InputSchema
        The features of the fields.
    required : collection of str
        Active features that every line must have.
    """

    def __init__(self, schema: InputSchema, required: Collection[str]) -> None:
        self._schema = schema
        self._required = frozenset(required)

    def check(self, lines: pa.StringArray) -> pa.StringArray:
        """Return why each line is refused, null for a valid line."""
        # Imported here: Arrow takes 40 MB, which a process that reads no lines saves.
        from common.records.columns import check

        return check(lines, self._schema, self._required)

    def key(self, line: str) -> str:
        """Return the line's CRC-32, which spreads the lines: examples need no order."""
        return f"{zlib.crc32(line.encode()):08x}"
