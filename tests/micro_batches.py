"""Micro-batches as the speed layer hands them to a family."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from common.api import InputLines
from speed_layer.api import Events

MAX_BYTES = 65_536


def micro_batch(
    lines: InputLines, values: Sequence[str], start: int = 0, first_time: int = 1
) -> Events:
    """Read lines with offsets from `start` on, and a millisecond between them."""
    rows = pa.record_batch(
        {
            "partition": pa.array([0] * len(values), pa.int32()),
            "offset": pa.array(range(start, start + len(values)), pa.int64()),
            "timestamp": pa.array(range(first_time, first_time + len(values)), pa.int64()),
            "value": pa.array([value.encode() for value in values], pa.binary()),
        }
    )
    return Events.read(rows, lines.read, MAX_BYTES)
