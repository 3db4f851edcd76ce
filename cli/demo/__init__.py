"""Verb ``demo``: a recommender that learns from real ratings while one watches."""

from __future__ import annotations

import time
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

EXIT_INTERRUPTED = 130


class App(str, Enum):
    """Model families that the demo knows."""

    als = "als"


RatingsFile = Annotated[
    Path | None,
    typer.Option("--ratings", help="Lines user,item,strength,timestamp instead of MovieLens."),
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
    rate: Rate = 280,
    events: Events = None,
    keep: Keep = False,
    stop: Stop = False,
    as_json: Json = False,
) -> None:
    """Watch a recommender learn from real ratings, in a folder and on ports of its own."""
    started = time.monotonic()
    from rich.console import Console

    from cli.demo import run, summary
    from cli.demo.play import Options
    from cli.output import print_json

    if stop:
        print("The demo is stopped." if run.stop() else "No demo was running.")
        return
    # With --json standard output is for that alone.
    console = Console(stderr=as_json, highlight=False)
    options = Options(ratings, app.value, rate, events, keep)
    try:
        found = run.run(options, run.Teller(console, partial(summary.show, console)), started)
    except KeyboardInterrupt:
        console.print("Interrupted; everything is stopped.")
        raise typer.Exit(EXIT_INTERRUPTED) from None
    if as_json:
        print_json(found.to_json())
