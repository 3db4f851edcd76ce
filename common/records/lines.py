"""Checks and keys of input lines, for families that learn from examples."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from common.api import InputLines, Read
from common.records.schema import InputSchema

if TYPE_CHECKING:
    import pyarrow as pa


class ExampleLines(InputLines):
    """Input lines of a family that learns from examples; its ``Lines`` derive from this.

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

    def read(self, lines: pa.StringArray) -> Read:
        """Return a column for each active feature; see :func:`common.records.columns.parse`."""
        # Arrow takes 40 MB: a process that reads no lines does not load it.
        from common.records.columns import parse

        return parse(lines, self._schema, self._required)
