"""What is seen of the demo: drawn anew all the time on a terminal, plain lines elsewhere."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from cli.demo.freshness import Arrival
from cli.demo.scoreboard import PAGE, Rates
from cli.demo.story import Show, Step, Story

REFRESH_PER_SECOND = 5
PLAIN_SECONDS = 5.0
LATELY = 2000
NEWCOMER_TITLES = 4


class Screen(Protocol):
    """Shows a story while it happens."""

    def starting(self) -> AbstractContextManager[None]:
        """Show the steps until the live events begin."""

    def playing(self, show: Show) -> AbstractContextManager[None]:
        """Show the live events."""


def screen_for(story: Story, console: Console) -> Screen:
    """Return the screen that suits the console."""
    console.print(Text(heading(story), "bold"))
    if story.ratings.licence:
        console.print(Text(story.ratings.licence, "dim"))
    console.print(Text(plan(story)))
    return TerminalScreen(story, console) if console.is_terminal else PlainScreen(story, console)


def heading(story: Story) -> str:
    """Return what is learned from, as one line."""
    rows = story.ratings.rows
    n_users = len({rating.user for rating in rows})
    return f"Gemsbok learns from {story.ratings.name}: {len(rows):,} ratings by {n_users:,} users"


def plan(story: Story) -> str:
    """Return what is going to happen."""
    return (
        f"The oldest {story.n_past:,} train a model; then {story.n_live:,} more come live, their "
        f"users side by side. Before each one two models are asked for {PAGE} items: the frozen "
        "one is as it was trained, the updated one is what the serving layer has by then."
    )


def percent(rate: float) -> str:
    """Return a rate for a person to read.

    >>> percent(0.0741)
    '7.4 %'
    """
    return f"{100 * rate:.1f} %"


def gain(rates: Rates) -> str:
    """Return by how much the updated model is better."""
    if not rates.frozen:
        return ""
    return f"{100 * (rates.updated / rates.frozen - 1):+.0f} %"


def freshness(show: Show) -> str:
    """Return the percentiles of the time until newcomers are visible."""
    median, high = show.arrivals.percentile(50), show.arrivals.percentile(95)
    if median is None or high is None:
        return "no new user yet"
    return f"p50 {median:.2f} s, p95 {high:.2f} s ({len(show.arrivals.seen)} new users)"


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
    def playing(self, show: Show) -> Iterator[None]:
        """Show bars, hit rates, the newest newcomer, and three users."""
        with self._live(lambda: show_panel(show)):
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


def show_panel(show: Show) -> RenderableType:
    """Return the live events as they are now."""
    return Group(_bar(show), "", _rates(show), "", _newcomer(show), "", _spotlights(show))


def _bar(show: Show) -> RenderableType:
    bar = Table.grid(padding=(0, 1), expand=True)
    bar.add_column(no_wrap=True)
    bar.add_column(ratio=1)
    bar.add_column(no_wrap=True)
    done = len(show.board)
    told = f"{done:,}/{show.total:,}  {show.rate:.0f}/s"
    bar.add_row("live events", ProgressBar(show.total, done), told)
    return bar


def _rates(show: Show) -> RenderableType:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column(f"hit rate@{PAGE}", no_wrap=True)
    for name in ("frozen", "updated", ""):
        table.add_column(name, justify="right", no_wrap=True)
    board = show.board
    rows = {
        "all events so far": board.rates(),
        f"last {LATELY:,}": board.rates(slice(-LATELY, None)),
        "by new users": board.newcomers(),
    }
    for name, rates in rows.items():
        if rates is not None:
            updated = Text(percent(rates.updated), "bold green")
            table.add_row(name, percent(rates.frozen), updated, Text(gain(rates), "green"))
    side = Table.grid(padding=(0, 2, 0, 0))
    side.add_row(Text("generation", "dim"), str(show.generation))
    side.add_row(Text("freshness", "dim"), freshness(show))
    return Group(table, side)


def _newcomer(show: Show) -> RenderableType:
    newest = show.newcomer()
    if newest is None:
        return Text("No new user yet.\n", "dim")
    titles = Text(show.titles(newest.items, NEWCOMER_TITLES), "cyan")
    titles.no_wrap, titles.overflow = True, "ellipsis"
    return Group(appeared(newest), titles)


def appeared(newcomer: Arrival) -> str:
    """Return what has happened to a newcomer, before the titles."""
    return f"User {newcomer.user} did not exist; {newcomer.seconds:.1f} s after a first event:"


def _spotlights(show: Show) -> RenderableType:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, expand=True)
    table.add_column("user", no_wrap=True)
    table.add_column("as trained", ratio=1, no_wrap=True)
    table.add_column("now", ratio=1, no_wrap=True)
    for one in show.spotlights:
        user = Text(f"{one.user}\n")
        user.append(f"{one.n_events} events" if one.n_events else "", "dim")
        now = Text()
        for title in one.now:
            now.append(f"{title}\n", "" if title in one.before else "green")
        now.rstrip()
        table.add_row(user, "\n".join(one.before), now)
    return table


class PlainScreen:
    """A line when something is done, and one every few seconds meanwhile."""

    def __init__(self, story: Story, console: Console) -> None:
        self._story = story
        self._console = console
        self._told: list[Step] = []
        self._line = ""
        self._newcomer: Arrival | None = None

    @contextmanager
    def starting(self) -> Iterator[None]:
        """Print each step when it is done."""
        with _repeated(self._steps, 0.2):
            yield
        self._steps()

    @contextmanager
    def playing(self, show: Show) -> Iterator[None]:
        """Print a line about the live events every few seconds."""
        with _repeated(lambda: self._show(show), PLAIN_SECONDS):
            yield
        self._show(show)

    def _show(self, show: Show) -> None:
        line = show_line(show)
        if line != self._line:
            self._line = line
            self._print(line)
        newcomer = show.newcomer()
        if newcomer is not None and newcomer is not self._newcomer:
            self._newcomer = newcomer
            titles = show.titles(newcomer.items, NEWCOMER_TITLES)
            self._print(f"{appeared(newcomer)} {titles}")

    def _steps(self) -> None:
        for step in self._story.steps:
            if step.seconds is not None and step not in self._told:
                self._told.append(step)
                self._print(f"{step.name}: {step.seconds:.1f} s  {step.note}".rstrip())

    def _print(self, line: str) -> None:
        # A reader of a file has no use for lines broken at the width of a terminal.
        self._console.print(Text(line), soft_wrap=True)


def show_line(show: Show) -> str:
    """Return the live events as they are now, as one line."""
    rates = show.board.rates()
    if rates is None:
        return f"0 of {show.total:,} live events"
    hits = f"hit rate frozen {percent(rates.frozen)}, updated {percent(rates.updated)}"
    done = f"{len(show.board):,} of {show.total:,} live events, {show.rate:.0f}/s"
    return f"{done}; {hits}; freshness {freshness(show)}"


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
