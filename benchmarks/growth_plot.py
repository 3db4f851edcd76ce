"""Plots curves of cost by size with comparable slopes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLUMNS = 3


@dataclass(frozen=True)
class Curve:
    """The cost of an operation at several sizes."""

    what: str
    by: str
    unit: str
    sizes: Sequence[int]
    values: Sequence[float]

    @property
    def exponent(self) -> float:
        """The slope of a straight line through the logarithms."""
        slope, _ = np.polyfit(np.log(self.sizes), np.log(self.values), 1)
        return float(slope)


def draw(curves: Sequence[Curve], path: Path) -> None:
    """Plot each curve in its own logarithmic axes, all with the same ratio of their ends."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    rows = -(-len(curves) // COLUMNS)
    drawing, axes = plt.subplots(rows, COLUMNS, figsize=(12, 3.2 * rows), squeeze=False)
    for axis in axes.flat[len(curves) :]:
        axis.set_visible(False)
    for axis, curve in zip(axes.flat, curves, strict=False):
        _draw(axis, curve)
    axes[0, 0].legend(fontsize=7, loc="upper left")
    drawing.tight_layout()
    drawing.savefig(path, dpi=110)
    plt.close(drawing)


def _draw(axis: Axes, curve: Curve) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axis.loglog(curve.sizes, curve.values, "o-", color="#1f5f8b")
    first, last = curve.sizes[0], curve.sizes[-1]
    middle = np.sqrt(first * last), np.sqrt(min(curve.values) * max(curve.values))
    reach = max(last / first, max(curve.values) / min(curve.values)) ** 0.5 * 1.5
    proportion = [middle[1] * size / middle[0] for size in curve.sizes]
    axis.loglog(curve.sizes, proportion, ":", color="#8a969e", label="in proportion")
    axis.set_xlim(middle[0] / reach, middle[0] * reach)
    axis.set_ylim(middle[1] / reach, middle[1] * reach)
    axis.set_xticks(curve.sizes, [f"{size:,}" for size in curve.sizes])
    axis.xaxis.set_minor_locator(NullLocator())
    axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.yaxis.set_minor_locator(NullLocator())
    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axis.tick_params(labelsize=8)
    axis.set_title(f"{curve.what}: exponent {curve.exponent:.2f}", fontsize=9)
    axis.set_xlabel(curve.by, fontsize=8)
    axis.set_ylabel(curve.unit, fontsize=8)
    axis.grid(True, alpha=0.3)
