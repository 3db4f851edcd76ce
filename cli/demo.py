"""Verb ``demo``: a model that learns from real data while one watches."""

from __future__ import annotations

import time
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

EXIT_INTERRUPTED = 130


class App(str, Enum):
    """Model families that the demo knows."""

    als = "als"
    kmeans = "kmeans"
    forest = "forest"


RatingsFile = Annotated[
    Path | None,
    typer.Option("--ratings", help="als: lines user,item,strength,timestamp, not MovieLens."),
]
Regression = Annotated[
    bool, typer.Option("--regression", help="forest: minutes of delay, not whether it is late.")
]
Family = Annotated[App, typer.Option("--app", help="Model family.")]
Rate = Annotated[float, typer.Option(min=1, max=2000, help="Live events per second.")]
Events = Annotated[int | None, typer.Option(min=5, help="Live events at most.", show_default="all")]
Keep = Annotated[bool, typer.Option("--keep", help="Leave everything running at the end.")]
Stop = Annotated[bool, typer.Option("--stop", help="Stop what --keep has left running.")]
Json = Annotated[bool, typer.Option("--json", help="Print the summary as one JSON object.")]


def demo(
    ratings: RatingsFile = None,
    app: Family = App.als,
    regression: Regression = False,
    rate: Rate = 280,
    events: Events = None,
    keep: Keep = False,
    stop: Stop = False,
    as_json: Json = False,
) -> None:
    """Watch a model learn from real data, in a folder and on ports of its own.

    als: films that people like. kmeans: readings of a space shuttle's sensors. forest: flights
    that leave late.
    """
    started = time.monotonic()
    from rich.console import Console

    from cli.output import print_json
    from demo import run
    from demo.course import Options

    _require(ratings is None, app, App.als, "--ratings")
    _require(not regression, app, App.forest, "--regression")
    if stop:
        print("The demo is stopped." if run.stop() else "No demo was running.")
        return
    # With --json standard output is for that alone.
    console = Console(stderr=as_json, highlight=False)
    options = Options(ratings, app.value, rate, events, keep, regression)
    try:
        found = run.run(options, console, started)
    except KeyboardInterrupt:
        console.print("Interrupted; everything is stopped.")
        raise typer.Exit(EXIT_INTERRUPTED) from None
    if as_json:
        print_json(found.to_json())


def _require(absent: bool, app: App, needed: App, option: str) -> None:
    if not absent and app is not needed:
        message = f"is for --app {needed.value}, not {app.value}"
        raise typer.BadParameter(message, param_hint=option)
