"""The demo's picture: what live updates are worth, and how soon newcomers have them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from demo.scoreboard import PAGE, Scoreboard

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WINDOWS = 20
#: Fewer events say little about a rate.
SMALLEST_WINDOW = 100
UPDATED, FROZEN = "#1b7f5c", "#6b7078"


def draw(board: Scoreboard, seconds: Sequence[float], path: Path, title: str) -> None:
    """Write a PNG of both models' hit rate over the live events, and of the freshness.

    Parameters
    ----------
    board : Scoreboard
        At least one event.
    seconds : sequence of float
        For each newcomer the seconds until there were recommendations.
    path : Path
        The PNG file; its folder is made.
    title : str
        Name of the ratings.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    rates, freshness = figure.subplots(1, 2, width_ratios=(2.4, 1))
    _draw_rates(rates, board)
    rates.set_title(f"{title}: what live updates are worth", loc="left", fontweight="bold")
    _draw_freshness(freshness, seconds)
    for axes in (rates, freshness):
        axes.grid(axis="y", alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)


def _draw_rates(axes: Axes, board: Scoreboard) -> None:
    from matplotlib.ticker import PercentFormatter

    size = max(len(board) // WINDOWS, min(len(board), SMALLEST_WINDOW))
    points = [(events, *rates) for events, rates in board.windows(size)]
    events, frozen, updated = zip(*points, strict=True)
    for values, name, colour in (
        (updated, "updated live", UPDATED),
        (frozen, "frozen", FROZEN),
    ):
        axes.plot(events, values, color=colour, linewidth=2.2, marker="o", markersize=3.5)
        at = (events[-1], values[-1])
        axes.annotate(f" {name}", at, color=colour, va="center", fontweight="bold")
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.set_ylim(0, max(*frozen, *updated) * 1.15 or 1)
    axes.set_xlim(0, events[-1] * 1.18)
    axes.set_xlabel(f"live events (each point: {size} events)")
    axes.set_ylabel(f"hit rate@{PAGE} of the next item")


def _draw_freshness(axes: Axes, seconds: Sequence[float]) -> None:
    import numpy as np

    axes.set_title("Freshness", loc="left", fontweight="bold")
    axes.set_xlabel("seconds from a new user's first event\nto recommendations")
    axes.set_ylabel("new users")
    if not seconds:
        return
    axes.hist(seconds, bins=20, range=(0, max(seconds)), color=UPDATED, alpha=0.75)
    median = float(np.median(seconds))
    axes.axvline(median, color=FROZEN, linewidth=1.5, linestyle="--")
    top = (median, axes.get_ylim()[1])
    axes.annotate(f" median {median:.2f} s", top, color=FROZEN, va="top")
