"""What the demo has to tell while it runs; the screens read it, and nothing else does."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class Step:
    """Something that is done once, before the live events.

    Attributes
    ----------
    name : str
        What is done.
    seconds : float or None
        How long it took; None while it goes on.
    note : str
        What came of it.
    done, total : int
        How far it is, where that can be counted; `total` 0 where not.
    """

    name: str
    started: float
    seconds: float | None = None
    note: str = ""
    done: int = 0
    total: int = 0

    @property
    def elapsed(self) -> float:
        """Seconds since its start."""
        return time.monotonic() - self.started


@dataclass
class Story:
    """All that is told before the live events.

    Attributes
    ----------
    heading : str
        What is learned from, as one line.
    licence : str
        Of the data; may be empty.
    plan : str
        What is going to happen.
    steps : list of Step
        In the order of their start.
    """

    heading: str
    licence: str
    plan: str
    steps: list[Step] = field(default_factory=list)

    @contextmanager
    def step(self, name: str, total: int = 0) -> Iterator[Step]:
        """Tell of a step, from its start to its end."""
        step = self.begin(name, total)
        yield step
        self.end(step)

    def begin(self, name: str, total: int = 0) -> Step:
        """Tell of the start of a step that other steps go along with."""
        step = Step(name, time.monotonic(), total=total)
        self.steps.append(step)
        return step

    def end(self, step: Step, note: str = "") -> None:
        """Tell that it is done, and what came of it."""
        step.note = note or step.note
        step.seconds = step.elapsed
