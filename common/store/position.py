"""Where a generation's messages begin on the update topic, as its publisher has written it down."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Position:
    """Where readers of a generation begin.

    Attributes
    ----------
    topic_id : str
        The broker's identity of the update topic; offsets mean nothing on another one.
    offsets : mapping of int to int
        For each of its partitions an offset before which no message of the generation lies.
    records : int
        How many messages the batch layer itself sends, the model included; their sequences are
        0 to `records` - 1.
    """

    topic_id: str
    offsets: Mapping[int, int]
    records: int

    def to_json(self) -> bytes:
        """Return the bytes of ``position.json``."""
        return json.dumps(asdict(self)).encode() + b"\n"

    @classmethod
    def from_json(cls, data: bytes) -> Position:
        """Read ``position.json``; raises ValueError if it is not one."""
        try:
            found = json.loads(data)
            offsets = {int(partition): int(at) for partition, at in found["offsets"].items()}
            return cls(str(found["topic_id"]), offsets, int(found["records"]))
        except (AttributeError, KeyError, TypeError) as error:
            message = f"not a position: {error!r}"
            raise ValueError(message) from error
