"""Memory of processes as the kernel counts it: at one moment, and at its greatest."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.alongside import alongside


@dataclass(frozen=True)
class Memory:
    """Bytes of a process and of all that descend from it.

    Attributes
    ----------
    rss : int
        Resident: a page that several processes share counts in each of them.
    pss : int
        Proportional: such a page is split among them, so that sums are what the machine gives.
    """

    rss: int
    pss: int


def of(pid: int) -> Memory:
    """Return the memory of a process and its descendants; those that have ended have none."""
    parts = [_sizes(each) for each in _family(pid)]
    return Memory(*(sum(part.get(name, 0) for part in parts) for name in ("Rss:", "Pss:")))


def _sizes(pid: int) -> dict[str, int]:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()[1:]
    except (FileNotFoundError, ProcessLookupError):
        return {}
    return {line.split()[0]: int(line.split()[1]) * 1024 for line in lines}


def _family(pid: int) -> list[int]:
    try:
        texts = [task.read_text() for task in Path(f"/proc/{pid}/task").glob("*/children")]
    except (FileNotFoundError, ProcessLookupError):
        texts = []
    started = [int(child) for text in texts for child in text.split()]
    return [pid, *(found for child in started for found in _family(child))]


@dataclass
class Greatest:
    """The one of several readings whose sum was the greatest: sizes by name."""

    parts: Mapping[str, float] = field(default_factory=dict)

    @property
    def total(self) -> float:
        """Its sum."""
        return sum(self.parts.values())


@contextmanager
def watched(read: Callable[[], Mapping[str, float]], period: float) -> Iterator[Greatest]:
    """Take readings while the block lasts, some seconds apart, and keep the greatest."""
    found = Greatest()

    def look(done: threading.Event) -> None:
        ended = False
        while not ended:
            found.parts = max(found.parts, read(), key=lambda parts: sum(parts.values()))
            ended = done.wait(period)

    with alongside(look):
        yield found
