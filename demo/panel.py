"""The live ratings on the screen: hit rates, newcomers, and a few users."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from demo.freshness import Arrival
from demo.scoreboard import PAGE, Rates
from demo.screen import percent, progress
from demo.show import Show

LATELY = 2000
NEWCOMER_TITLES = 4


@dataclass(frozen=True)
class RatingsView:
    """What a screen shows of the live ratings."""

    show: Show

    def panel(self) -> RenderableType:
        """Return bar, hit rates, the newest newcomer, and three users."""
        return show_panel(self.show)

    def lines(self) -> Sequence[str]:
        """Return how far it is, and the newest newcomer."""
        newcomer = self.show.newcomer()
        if newcomer is None:
            return [show_line(self.show)]
        titles = self.show.titles(newcomer.items, NEWCOMER_TITLES)
        return [show_line(self.show), f"{appeared(newcomer)} {titles}"]


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


def show_panel(show: Show) -> RenderableType:
    """Return the live events as they are now."""
    return Group(
        progress(len(show.board), show.total, show.rate),
        "",
        _rates(show),
        "",
        _newcomer(show),
        "",
        _spotlights(show),
    )


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


def show_line(show: Show) -> str:
    """Return the live events as they are now, as one line."""
    rates = show.board.rates()
    if rates is None:
        return f"0 of {show.total:,} live events"
    hits = f"hit rate frozen {percent(rates.frozen)}, updated {percent(rates.updated)}"
    done = f"{len(show.board):,} of {show.total:,} live events, {show.rate:.0f}/s"
    return f"{done}; {hits}; freshness {freshness(show)}"
