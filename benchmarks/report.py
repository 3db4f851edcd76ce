"""Reports a benchmark's figures: table, JSON file, plot, and the conditions of the run.

A benchmark is a module with a function that yields :class:`Figure` and a ``main`` that passes it
to :func:`run`.  A run that fails prints no figures: the error ends it with exit code 1.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

#: Libraries whose versions a figure depends on.
LIBRARIES = (
    "numpy",
    "scipy",
    "scikit-learn",
    "implicit",
    "faiss-cpu",
    "pyspark",
    "pyarrow",
    "flask",
    "granian",
    "confluent-kafka",
    "kafka-python",
    "pypmml",
)


@dataclass(frozen=True)
class Figure:
    """One line of a benchmark's table.

    Attributes
    ----------
    what, unit : str
        The measured quantity and its unit.
    values : sequence of float
        Our value in each round.
    peer : str
        Name of what it is compared with; empty if there is no comparison.
    peer_values : sequence of float
        The peer's value in each round.
    asked : str
        The target, in words.
    notes : mapping
        Further information: sizes, recall, memory.
    """

    what: str
    unit: str
    values: Sequence[float]
    peer: str = ""
    peer_values: Sequence[float] = ()
    asked: str = ""
    notes: Mapping[str, object] = field(default_factory=dict)

    @property
    def median(self) -> float:
        """The median of our rounds."""
        return statistics.median(self.values)

    @property
    def ratio(self) -> float | None:
        """The median of the rounds' ratios of our value to the peer's; None without a peer."""
        if not self.peer_values:
            return None
        pairs = zip(self.values, self.peer_values, strict=True)
        return statistics.median(ours / peer for ours, peer in pairs)

    def line(self) -> str:
        """Return the figure as a line of text."""
        text = f"{self.what}: {short(self.median)} {self.unit}"
        if len(self.values) > 1:
            text += f" [{short(min(self.values))} to {short(max(self.values))}]"
        if self.ratio is not None:
            peer = short(statistics.median(self.peer_values))
            text += f"; {self.ratio:.2f} times {self.peer} ({peer})"
        if self.asked:
            text += f"; asked for {self.asked}"
        notes = ", ".join(f"{name} {value}" for name, value in self.notes.items())
        return f"{text}; {notes}" if notes else text


Measure = Callable[[argparse.Namespace], Iterable[Figure]]


def run(
    name: str,
    measure: Measure,
    parser: argparse.ArgumentParser,
    arguments: Sequence[str] | None = None,
    **quick: object,
) -> None:
    """Measure with the arguments given; then print all figures, and write them where asked.

    Parameters
    ----------
    name : str
        Name of the files.
    measure : callable
        Called with the parsed arguments; yields figures.
    parser : ArgumentParser
        With the benchmark's own arguments.
    arguments : sequence of str, optional
        What was given; those of the command line by default.
    **quick
        Defaults of these arguments with ``--quick``.
    """
    parser.add_argument("--quick", action="store_true", help="small sizes: does it run at all?")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="write JSON and a plot there")
    if parser.parse_args(arguments).quick:
        parser.set_defaults(**quick)
    given = parser.parse_args(arguments)
    before = environment()
    print(json.dumps(before))
    figures = []
    for figure in measure(given):
        print(f"measured: {figure.what}", file=sys.stderr, flush=True)
        figures.append(figure)
    # Printed only at the end: a later error makes earlier figures doubtful.
    for figure in figures:
        print(figure.line())
    if given.out is not None:
        given.out.mkdir(parents=True, exist_ok=True)
        write(given.out / f"{name}.json", before, figures)
        plot(given.out / f"{name}.png", name, figures)


def short(number: float) -> str:
    """Return a number for readers, with at least three digits."""
    return f"{number:,.0f}" if abs(number) >= 1000 else f"{number:.3g}"


def environment() -> dict[str, object]:
    """Return the conditions of the run: machine, load, date, versions."""
    return {
        "command": " ".join(sys.orig_argv[1:]),
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "load_average": [round(load, 2) for load in os.getloadavg()],
        "python": platform.python_version(),
        "versions": {name: found for name in LIBRARIES if (found := _version(name))},
    }


def write(path: Path, conditions: Mapping[str, object], figures: Sequence[Figure]) -> None:
    """Write the figures and the conditions before and after the run as JSON."""
    rows = [
        {**asdict(figure), "median": figure.median, "ratio": figure.ratio} for figure in figures
    ]
    after = [round(load, 2) for load in os.getloadavg()]
    text = {**conditions, "load_average_after": after, "figures": rows}
    path.write_text(json.dumps(text, indent=2, default=str), encoding="utf-8")


def plot(path: Path, name: str, figures: Sequence[Figure]) -> None:
    """Plot medians with the spread of the rounds, ours and the peer's, one axes per unit."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    units = list(dict.fromkeys(figure.unit for figure in figures))
    heights = [sum(figure.unit == unit for figure in figures) for unit in units]
    drawing, axes = plt.subplots(
        len(units),
        1,
        squeeze=False,
        figsize=(9, 1.2 + 0.6 * sum(heights) + 0.8 * len(units)),
        gridspec_kw={"height_ratios": heights},
    )
    for axis, unit in zip(axes[:, 0], units, strict=True):
        _bars(axis, unit, [figure for figure in figures if figure.unit == unit])
    axes[0, 0].set_title(name)
    drawing.tight_layout()
    drawing.savefig(path, dpi=110)
    plt.close(drawing)


def _bars(axis: object, unit: str, figures: Sequence[Figure]) -> None:
    for row, figure in enumerate(figures):
        sides = [("ours", figure.values, "#1f5f8b"), (figure.peer, figure.peer_values, "#b9c4cc")]
        for side, (name, values, colour) in enumerate(sides):
            if values:
                middle = statistics.median(values)
                spread = [[middle - min(values)], [max(values) - middle]]
                position = -row - 0.38 * side
                axis.barh(position, middle, 0.36, xerr=spread, color=colour, capsize=2)  # type: ignore[attr-defined]
                label = f" {short(middle)} {name}" if figure.peer_values else f" {short(middle)}"
                axis.text(max(values), position, label, va="center", fontsize=8)  # type: ignore[attr-defined]
    positions = [-row - 0.19 * bool(figure.peer_values) for row, figure in enumerate(figures)]
    axis.set_yticks(positions)  # type: ignore[attr-defined]
    axis.set_yticklabels([figure.what for figure in figures], fontsize=8)  # type: ignore[attr-defined]
    axis.set_xlabel(unit)  # type: ignore[attr-defined]
    axis.margins(x=0.35)  # type: ignore[attr-defined]


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if "model name" in line), "")


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
