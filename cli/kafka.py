"""Verb ``kafka``: the embedded broker."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from cli.output import print_json, print_table, readable_bytes
from stack import paths
from stack.errors import EXIT_NOT_RUNNING
from stack.local_kafka import DEFAULT_PORT, LocalKafka, Status

app = typer.Typer(help="Start, stop and look at the embedded broker.", no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Port = Annotated[int, typer.Option(min=0, max=65535, help="Port on 127.0.0.1; 0 takes a free one.")]
HeapMb = Annotated[int, typer.Option(min=128, help="Upper limit of the Java heap, in MiB.")]


@app.command()
def start(port: Port = DEFAULT_PORT, heap_mb: HeapMb = 512, as_json: Json = False) -> None:
    """Start the broker and wait until it answers."""
    broker = LocalKafka(paths.home(), port, heap_mb)
    started = broker.start()
    status = broker.status()
    if as_json:
        print_json({"started": started, **json.loads(status.to_json())})
    elif started:
        print(f"The broker runs at {status.address} (pid {status.pid}).")
    else:
        print(f"The broker is already running at {status.address} (pid {status.pid}).")


@app.command()
def stop(as_json: Json = False) -> None:
    """Stop the broker; its data stays."""
    stopped = LocalKafka(paths.home()).stop()
    if as_json:
        print_json({"stopped": stopped})
    else:
        print("The broker is stopped." if stopped else "The broker was not running.")


@app.command()
def status(as_json: Json = False) -> None:
    """Say where the broker runs and what it holds; exit code 3 when it does not run."""
    known = LocalKafka(paths.home()).status()
    if as_json:
        print(known.to_json())
    else:
        print_table(("", ""), _rows(known))
    if not known.running:
        raise typer.Exit(EXIT_NOT_RUNNING)


def _rows(known: Status) -> list[tuple[str, object]]:
    rows: list[tuple[str, object]] = [("state", "running" if known.running else "not running")]
    if known.running:
        rows += [("pid", known.pid), ("address", known.address)]
        rows += [("topics", ", ".join(known.topics) or "none")]
    rows += [("cluster id", known.cluster_id or "none yet")]
    return [*rows, ("data", readable_bytes(known.data_bytes)), ("log", known.log)]
