"""What one family's demo shows, and how it is seen while the events come."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from common.store.generations import Generation
from demo.client import ServingClient
from demo.course import Scene
from demo.screen import progress
from demo.story import Story


class Act(ABC):
    """What one family's demo shows: its data, its live measure, and its picture.

    Attributes
    ----------
    scene : Scene
        What the layers are told.
    story : Story
        What the user is told first.
    past, live : sequence of str
        Events: those that train the model, and those that come live, in the order in which
        they come.
    """

    scene: Scene
    story: Story
    past: Sequence[str]
    live: Sequence[str]

    @abstractmethod
    def open(self, generation: Generation, serving: ServingClient) -> str:
        """Take over the model as it was trained; return what it says first."""

    @abstractmethod
    def judge(self, part: slice, pool: ThreadPoolExecutor) -> None:
        """Ask both models about live events that are about to be sent, and keep the answers."""

    @abstractmethod
    def close(self) -> None:
        """Take note that all events are in the model as it is now."""

    @abstractmethod
    def measures(self) -> Mapping[str, tuple[str, str, str]]:
        """Return rows of the table: measure, as trained, as it is now, what that is worth."""

    @abstractmethod
    def results(self) -> dict[str, Any]:
        """Return the measures as values that JSON knows."""

    @abstractmethod
    def draw(self, path: Path) -> None:
        """Write the picture, a PNG."""


@dataclass
class LiveEvents:
    """The live events as they are going.

    Attributes
    ----------
    act : Act
        Whose they are.
    done : int
        How many have been sent and acknowledged.
    started : float
        Monotonic time of the first one.
    seconds : float or None
        How long they took; None while they come.
    """

    act: Act
    done: int = 0
    started: float = 0.0
    seconds: float | None = None

    @property
    def rate(self) -> float:
        """Events per second so far."""
        seconds = self.seconds or time.monotonic() - self.started
        return self.done / max(seconds, 0.001)

    def panel(self) -> RenderableType:
        """Return bar and measures."""
        bar = progress(self.done, len(self.act.live), self.rate)
        return Group(bar, "", measures_table(self.act))

    def lines(self) -> Sequence[str]:
        """Return how far it is, and the measures, as one line."""
        told = [
            f"{name} as trained {trained}, now {now}"
            for name, (trained, now, _) in self.act.measures().items()
        ]
        done = f"{self.done:,} of {len(self.act.live):,} live events, {self.rate:.0f}/s"
        return ["; ".join([done, *told])]


def measures_table(act: Act) -> Table:
    """Return an act's measures for people."""
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column("", no_wrap=True)
    for name in ("as trained", "updated live", ""):
        table.add_column(name, justify="right", no_wrap=True)
    for name, (trained, now, worth) in act.measures().items():
        table.add_row(name, trained, Text(now, "bold green"), Text(worth, "green"))
    return table
