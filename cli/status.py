"""Verb ``status``: what ``up`` has started, and how it is."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.errors import EXIT_NOT_RUNNING
from cli.stack import show
from common.paths import home

Json = Annotated[bool, typer.Option("--json", help="Print one JSON array.")]


def status(as_json: Json = False) -> None:
    """Show the broker and the layers; exit code 3 when one of them does not run."""
    if any(row.state == "stopped" for row in show(home(), as_json)):
        raise typer.Exit(EXIT_NOT_RUNNING)
