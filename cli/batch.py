"""Verb ``batch``: the batch layer in the foreground."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.options import Conf, Sets
from stack.configuration import settings_of
from stack.launch import ByPython, layer_arguments, run_on_spark

Once = Annotated[bool, typer.Option("--once", help="Make one generation, then leave.")]
AcceptLoss = Annotated[
    bool,
    typer.Option("--accept-loss", help="Go on where input events are gone: they stay lost."),
]


def batch(
    conf: Conf = None,
    sets: Sets = None,
    once: Once = False,
    accept_loss: AcceptLoss = False,
    python: ByPython = False,
) -> None:
    """Run the batch layer by spark-submit, until Ctrl-C."""
    arguments = layer_arguments(conf, sets)
    switches = {"--once": once, "--accept-loss": accept_loss}
    arguments += [name for name, given in switches.items() if given]
    run_on_spark("batch", settings_of(conf, sets), arguments, python)
