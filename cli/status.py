"""Verb ``status``: what ``up`` has started, and how it is."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from cli.output import print_json, print_table
from common.base.paths import home
from stack.errors import EXIT_NOT_RUNNING
from stack.layers import Row, rows

Json = Annotated[bool, typer.Option("--json", help="Print one JSON array.")]


def status(as_json: Json = False) -> None:
    """Show the broker and the layers; exit code 3 when one of them does not run."""
    if any(row.state == "stopped" for row in show(home(), as_json)):
        raise typer.Exit(EXIT_NOT_RUNNING)


def show(home: Path, as_json: bool) -> list[Row]:
    """Print the rows as a table or as JSON, and return them."""
    found = list(rows(home))
    if as_json:
        print_json([asdict(row) for row in found])
    else:
        headings = ("process", "state", "pid", "uptime", "address", "log")
        print_table(headings, [_cells(row) for row in found])
    return found


def _cells(row: Row) -> list[object]:
    uptime = "" if row.uptime_seconds is None else f"{row.uptime_seconds:.0f} s"
    return [row.name, row.state, row.pid or "", uptime, row.address, row.log]
