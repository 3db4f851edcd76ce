"""Verb ``down``: stops what ``up`` has started."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.output import print_json
from common.base.paths import home
from stack.layers import LAYERS, started_broker_mark
from stack.local_kafka import LocalKafka
from stack.processes import Background

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Timeout = Annotated[
    float, typer.Option(min=0, help="Seconds that each layer may take before it is killed.")
]


def down(timeout: Timeout = 60, as_json: Json = False) -> None:
    """Stop the layers, and the broker if `up` started it; data and models stay."""
    stopped = stop_all(home(), timeout)
    if as_json:
        print_json({"stopped": stopped})
    else:
        print(f"Stopped: {', '.join(stopped)}." if stopped else "Nothing was running.")


def stop_all(state: Path, timeout_seconds: float) -> list[str]:
    """Stop the layers in the opposite order of their start, then the broker.

    Parameters
    ----------
    state : Path
        State folder.
    timeout_seconds : float
        How long a layer may take to stop by itself.

    Returns
    -------
    list of str
        Names of what ran.
    """
    layers = [Background(state, name) for name in reversed(LAYERS)]
    stopped = [layer.name for layer in layers if layer.stop(timeout_seconds)]
    mark = started_broker_mark(state)
    if mark.exists():
        if LocalKafka(state).stop():
            stopped.append("kafka")
        mark.unlink()
    return stopped
