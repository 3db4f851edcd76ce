"""Two models over the same stream: their measures, in words and as pictures."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from demo.picture import FROZEN, UPDATED, WINDOWS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: A measure of both models: as trained, and updated.
Pair = tuple[float, float]

NAMES = ("as_trained", "updated")
SMALLEST_WINDOW = 200
DPI = 130


def windows(n_events: int) -> list[slice]:
    """Cut a stream into at most `WINDOWS` parts of equal size; one where there are few events."""
    size = max(n_events // WINDOWS, min(n_events, SMALLEST_WINDOW))
    return [slice(end - size, end) for end in range(size, n_events + 1, size)]


def new_figure(n_panels: int, ratios: Sequence[float]) -> tuple[Figure, list[Axes]]:
    """Return a figure and its panels, side by side."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.6 * n_panels, 4.4), layout="constrained")
    panels = list(figure.subplots(1, n_panels, width_ratios=ratios, squeeze=False)[0])
    for axes in panels:
        axes.grid(axis="y", alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    return figure, panels


def save(figure: Figure, path: Path) -> None:
    """Write a figure as PNG; its folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=DPI)


def draw_both(axes: Axes, parts: Sequence[slice], measure: Callable[[slice], Pair]) -> None:
    """Draw a measure of both models, as trained and updated, over the windows.

    Parameters
    ----------
    axes : Axes
        The panel.
    parts : sequence of slice
        The windows; at least one.
    measure : callable
        Returns the measure of the frozen and of the updated model in a window.
    """
    ends = [part.stop for part in parts]
    frozen, updated = zip(*map(measure, parts), strict=True)
    # The wider line stays visible where both models do alike.
    axes.plot(ends, frozen, color=FROZEN, linewidth=5, alpha=0.45, label="as trained")
    axes.plot(
        ends, updated, color=UPDATED, linewidth=2, marker="o", markersize=3, label="updated live"
    )
    axes.legend(frameon=False)
    axes.set_xlabel(f"live events (each point: {parts[0].stop - parts[0].start} events)")


def pair_of(values: Iterable[Any]) -> Pair:
    """Return a measure as trained and updated."""
    trained, now = map(float, values)
    return trained, now


def row_of(both: Pair, form: str) -> tuple[str, str, str]:
    """Return a measure of both models, and by how much the updated one's differs."""
    trained, now = both
    return form.format(trained), form.format(now), f"{100 * (now / trained - 1):+.1f} %"


def named(both: Pair) -> dict[str, float | None]:
    """Return a measure as JSON has it; null where it means nothing."""
    return {
        name: None if math.isnan(value) else value for name, value in zip(NAMES, both, strict=True)
    }
