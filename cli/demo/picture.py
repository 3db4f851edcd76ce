"""The demo's picture: hit rate over time, frozen against updated."""

from __future__ import annotations

from pathlib import Path

from cli.demo.scoreboard import PAGE, Scoreboard

WINDOWS = 20


def draw(board: Scoreboard, path: Path, title: str) -> None:
    """Write a PNG of both models' hit rate over the live events.

    Parameters
    ----------
    board : Scoreboard
        At least one window of events; nothing is drawn without events.
    path : Path
        The PNG file; its folder is made.
    title : str
        Name of the ratings.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    size = max(1, len(board) // WINDOWS)
    points = [(events, *rates) for events, rates in board.windows(size)]
    if not points:
        return
    events, frozen, updated = zip(*points, strict=True)
    figure = Figure(figsize=(9, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.plot(events, updated, color="#1b7f5c", linewidth=2.2, marker="o", markersize=3.5)
    axes.plot(events, frozen, color="#8a8f98", linewidth=2.2, marker="o", markersize=3.5)
    for values, name, colour in (
        (updated, "updated live", "#1b7f5c"),
        (frozen, "frozen", "#6b7078"),
    ):
        axes.annotate(
            f" {name}", (events[-1], values[-1]), color=colour, va="center", fontweight="bold"
        )
    axes.set_ylim(0, max(*frozen, *updated) * 1.15 or 1)
    axes.set_xlim(0, events[-1] * 1.14)
    axes.set_xlabel(f"live events (each point: {events[0]} events)")
    axes.set_ylabel(f"hit rate@{PAGE} of the next item")
    axes.set_title(f"{title}: what live updates are worth", loc="left", fontweight="bold")
    axes.grid(axis="y", alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
