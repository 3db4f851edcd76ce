"""Writes a table and a plot of a search's candidates into the generation's folder."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from batch_layer.search.trials import Trial

TABLE = "candidates.csv"
PLOT = "candidates.png"
#: Name of the table's first column, and of the plot's axis if no hyperparameter varies.
NUMBER = "candidate"

#: Width and height in inches of a hyperparameter's panel.
PANEL = (3.2, 2.6)
DPI = 100
#: Largest number of panels in a plot.
MAX_PANELS = 6


def write_candidates(trials: Sequence[Trial], best: Trial, directory: Path) -> None:
    """Write the table and the plot; the same trials give the same bytes.

    Parameters
    ----------
    trials : sequence of Trial
        All trials of the search.
    best : Trial
        The trial whose hyperparameters are published.
    directory : Path
        The generation's folder.
    """
    _write_table(trials, best, directory / TABLE)
    _draw(trials, best, directory / PLOT)


def _write_table(trials: Sequence[Trial], best: Trial, path: Path) -> None:
    rows = [
        {
            NUMBER: trial.candidate.number,
            **trial.candidate.hyperparameters,
            "seed": trial.candidate.seed,
            **trial.metrics(),
            "best": "yes" if trial is best else "",
        }
        for trial in trials
    ]
    columns = list(dict.fromkeys(name for row in rows for name in row))
    columns.sort(key="best".__eq__)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _draw(trials: Sequence[Trial], best: Trial, path: Path) -> None:
    # 26 MB and 0.3 s, where there are several candidates to draw; pyplot would keep state.
    from matplotlib.figure import Figure

    # The hyperparameters in which the candidates differ.
    given = [trial.candidate.hyperparameters for trial in trials]
    varied = [name for name in given[0] if any(one[name] != given[0][name] for one in given)]
    varied = varied[:MAX_PANELS] or [NUMBER]
    figure = Figure((PANEL[0] * len(varied), PANEL[1]), DPI, layout="constrained")
    row = figure.subplots(1, len(varied), sharey=True, squeeze=False)[0]
    for axes, name in zip(row, varied, strict=True):
        _panel(axes, name, [trial for trial in trials if not trial.unknown], best)
    row[0].set_ylabel("score (higher is better)")
    figure.savefig(path)


def _panel(axes: Axes, name: str, trials: Sequence[Trial], best: Trial) -> None:
    """Draw score over one hyperparameter; values that are no numbers in order of appearance."""
    tried = [trial.candidate for trial in trials]
    values = [candidate.hyperparameters.get(name, candidate.number) for candidate in tried]
    if not all(isinstance(value, (int, float)) for value in values):
        values = [str(value) for value in values]
    axes.scatter(values, [trial.score for trial in trials], s=18)
    for trial, value in zip(trials, values, strict=True):
        if trial is best:
            axes.scatter([value], [trial.score], s=70, facecolors="none", edgecolors="C3")
    axes.set_xlabel(name)
    axes.grid(alpha=0.3)
