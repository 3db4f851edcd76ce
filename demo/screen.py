"""What is seen of the demo: drawn anew all the time on a terminal, plain lines elsewhere."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from rich.console import Console, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from demo.story import Step, Story

REFRESH_PER_SECOND = 5
PLAIN_SECONDS = 5.0
LATELY = 2000
NEWCOMER_TITLES = 4


class View(Protocol):
    """The live events of one family as they are now."""

    def panel(self) -> RenderableType:
        """Return them for a terminal."""

    def lines(self) -> Sequence[str]:
        """Return them as lines; each is printed again when it has changed."""


class Screen(Protocol):
    """Shows a story while it happens."""

    def starting(self) -> AbstractContextManager[None]:
        """Show the steps until the live events begin."""

    def playing(self, view: View) -> AbstractContextManager[None]:
        """Show the live events."""


def screen_for(story: Story, console: Console) -> Screen:
    """Return the screen that suits the console."""
    console.print(Text(story.heading, "bold"))
    if story.licence:
        console.print(Text(story.licence, "dim"))
    console.print(Text(story.plan))
    return TerminalScreen(story, console) if console.is_terminal else PlainScreen(story, console)


def percent(rate: float) -> str:
    """Return a rate for a person to read.

    >>> percent(0.0741)
    '7.4 %'
    """
    return f"{100 * rate:.1f} %"


def progress(done: int, total: int, rate: float) -> RenderableType:
    """Return the bar of the live events."""
    bar = Table.grid(padding=(0, 1), expand=True)
    bar.add_column(no_wrap=True)
    bar.add_column(ratio=1)
    bar.add_column(no_wrap=True)
    bar.add_row("live events", ProgressBar(total, done), f"{done:,}/{total:,}  {rate:.0f}/s")
    return bar


class TerminalScreen:
    """Tables and bars that are drawn over, a few times per second."""

    def __init__(self, story: Story, console: Console) -> None:
        self._story = story
        self._console = console
        self._spinner = Spinner("dots")

    @contextmanager
    def starting(self) -> Iterator[None]:
        """Show the steps, one line each."""
        with self._live(self._steps):
            yield

    @contextmanager
    def playing(self, view: View) -> Iterator[None]:
        """Show the family's panel."""
        with self._live(view.panel):
            yield

    def _live(self, render: Callable[[], RenderableType]) -> Live:
        return Live(
            get_renderable=render, console=self._console, refresh_per_second=REFRESH_PER_SECOND
        )

    def _steps(self) -> RenderableType:
        table = Table.grid(padding=(0, 1))
        table.add_column(width=1)
        table.add_column(no_wrap=True)
        table.add_column(justify="right", no_wrap=True)
        table.add_column(no_wrap=True, overflow="ellipsis")
        for step in self._story.steps:
            table.add_row(*self._step(step))
        return table

    def _step(self, step: Step) -> tuple[RenderableType, ...]:
        if step.seconds is not None:
            return Text("✓", "green"), step.name, f"{step.seconds:.1f} s", Text(step.note, "dim")
        told: RenderableType = Text(step.note, "dim")
        if step.total:
            told = ProgressBar(step.total, step.done, width=30)
        return self._spinner, step.name, f"{step.elapsed:.1f} s", told


class PlainScreen:
    """A line when something is done, and one every few seconds meanwhile."""

    def __init__(self, story: Story, console: Console) -> None:
        self._story = story
        self._console = console
        self._told: list[Step] = []
        self._lines: Sequence[str] = ()

    @contextmanager
    def starting(self) -> Iterator[None]:
        """Print each step when it is done."""
        with _repeated(self._steps, 0.2):
            yield
        self._steps()

    @contextmanager
    def playing(self, view: View) -> Iterator[None]:
        """Print what has changed every few seconds."""
        with _repeated(lambda: self._show(view), PLAIN_SECONDS):
            yield
        self._show(view)

    def _show(self, view: View) -> None:
        lines = view.lines()
        for line in lines:
            if line not in self._lines:
                self._print(line)
        self._lines = lines

    def _steps(self) -> None:
        for step in self._story.steps:
            if step.seconds is not None and step not in self._told:
                self._told.append(step)
                self._print(f"{step.name}: {step.seconds:.1f} s  {step.note}".rstrip())

    def _print(self, line: str) -> None:
        # A reader of a file has no use for lines broken at the width of a terminal.
        self._console.print(Text(line), soft_wrap=True)


@contextmanager
def _repeated(action: Callable[[], None], seconds: float) -> Iterator[None]:
    """Do something again and again on another thread."""
    ended = threading.Event()

    def run() -> None:
        while not ended.wait(seconds):
            action()

    thread = threading.Thread(target=run, name="screen", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
