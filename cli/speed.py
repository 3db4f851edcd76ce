"""Verb ``speed``: the speed layer in the foreground."""

from __future__ import annotations

from cli.options import Conf, Sets
from stack.configuration import settings_of
from stack.launch import ByPython, layer_arguments, run_on_spark


def speed(conf: Conf = None, sets: Sets = None, python: ByPython = False) -> None:
    """Run the speed layer by spark-submit, until Ctrl-C."""
    arguments = layer_arguments(conf, sets)
    run_on_spark("speed", settings_of(conf, sets), arguments, python)
