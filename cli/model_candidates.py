"""The candidates of a generation, as a table."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cli.output import print_table

if TYPE_CHECKING:
    from common.store.generations import Generation

PLOT = "candidates.png"


def show_candidates(generation: Generation) -> None:
    """Print what the search has tried, the best first, and say where the plot lies."""
    rows = sorted(map(_row, generation.manifest.candidates), key=_rank)
    columns = list(dict.fromkeys(name for row in rows for name in row))
    cells = [[_cell(row.get(name)) for name in columns] for row in rows]
    # Which columns there are depends on the family: scripts need their names too.
    print_table(columns, cells if sys.stdout.isatty() else [columns, *cells])
    if PLOT in generation.manifest.files:
        print(f"Plot: {generation.path(PLOT)}", file=sys.stderr)


def _row(candidate: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **candidate["hyperparameters"],
        "seed": candidate["seed"],
        **candidate["metrics"],
        "seconds": candidate["seconds"],
    }


def _rank(row: dict[str, Any]) -> float:
    """Return the place of a row; what could not be evaluated stands last."""
    return float("inf") if row["score"] is None else -float(row["score"])


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    return "" if value is None else str(value)
