"""Documents of other tools: a family for serving alone.  Its settings; it takes no events."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from common.api import InputLines, Read
from common.config import Section
from common.config.types import Heap

if TYPE_CHECKING:
    import pyarrow as pa

REASON = 'no_input: app = "pmml" takes no events; send rows to /predict'


class Settings(Section):
    """Any PMML document, scored by pypmml."""

    heap: Heap = Field("1g", description="Heap of the Java process that scores.")
    max_size: int = Field(
        67_108_864, ge=1024, description="Bytes of a document; a larger one is refused."
    )


class Lines(InputLines):
    """Refuses every event: nothing learns from them."""

    def read(self, lines: pa.StringArray) -> Read:
        """Return the same reason for each line."""
        # Every process imports all families, for their settings; Arrow takes 34 MB.
        import pyarrow as pa

        return Read(pa.record_batch({"line": lines}), pa.array([REASON] * len(lines), pa.string()))
