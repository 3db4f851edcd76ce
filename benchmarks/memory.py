"""Memory of processes by the kernel's accounting: current and peak."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.alongside import alongside


@dataclass(frozen=True)
class Memory:
    """Bytes of a process and its descendants.

    Attributes
    ----------
    rss : int
        Resident set size: a shared page counts fully in each process.
    pss : int
        Proportional set size: a shared page is divided among its processes, so that sums are
        the memory that the machine provides.
    """

    rss: int
    pss: int


def of(pid: int) -> Memory:
    """Return the memory of a process and its descendants; processes that have ended count 0."""
    parts = [_sizes(descendant) for descendant in _family(pid)]
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
    return [pid, *(member for child in started for member in _family(child))]


@dataclass
class Peak:
    """The sample with the largest sum: sizes by name."""

    parts: Mapping[str, float] = field(default_factory=dict)

    @property
    def total(self) -> float:
        """The sum."""
        return sum(self.parts.values())


@contextmanager
def watched(read: Callable[[], Mapping[str, float]], period: float) -> Iterator[Peak]:
    """Sample during the block, with a period in seconds, and keep the largest sample."""
    peak = Peak()

    def sample(done: threading.Event) -> None:
        ended = False
        while not ended:
            peak.parts = max(peak.parts, read(), key=lambda parts: sum(parts.values()))
            ended = done.wait(period)

    with alongside(sample):
        yield peak
