"""What tests of requests stand on: a model that is simply there, and the input topic in memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from common.broker.api import read_all
from common.broker.memory import MemoryBroker

INPUT = "gemsbok.input"


@dataclass
class Held:
    """A ModelSource whose model never changes; without one it says what is missing."""

    model: Any = None
    generation: int | None = 1000
    model_age_seconds: float | None = 1.0

    def status(self) -> dict[str, object]:
        return {"missing": None if self.model else "no model generation yet"}


def input_topic() -> MemoryBroker:
    """A broker with an empty input topic."""
    broker = MemoryBroker()
    broker.create_topic(INPUT, 1)
    return broker


def sent(broker: MemoryBroker) -> list[tuple[str, str]]:
    """Keys and values on the input topic."""
    records = read_all(broker.reader(INPUT), broker.end_offsets(INPUT))
    return [((r.key or b"").decode(), (r.value or b"").decode()) for r in records]


def sent_lines(broker: MemoryBroker) -> list[str]:
    """Values on the input topic; each has a key."""
    found = sent(broker)
    assert all(key for key, _ in found)
    return [value for _, value in found]
