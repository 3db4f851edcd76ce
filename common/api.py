"""What the layers ask of a family's part in ``common``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import pyarrow as pa


class InputLines(Protocol):
    """A family's rules for input lines; its module in ``common.apps`` names the class ``Lines``.

    An instance is sent to Spark's workers, so it holds nothing that cannot be pickled.
    """

    def check(self, lines: pa.StringArray) -> pa.StringArray:
        """Return for each line why it is refused, null where it is good."""

    def key(self, line: str) -> str:
        """Return the line's Kafka key; raises ValueError where the line cannot be read."""
