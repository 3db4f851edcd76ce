"""Verb ``speed``: the speed layer in the foreground."""

from __future__ import annotations

from cli.launch import ByPython, layer_arguments, spark_layer
from cli.options import Conf, Sets, settings_of


def speed(conf: Conf = None, sets: Sets = None, python: ByPython = False) -> None:
    """Run the speed layer by spark-submit, until Ctrl-C."""
    arguments = layer_arguments(conf, sets)
    spark_layer("speed", settings_of(conf, sets), arguments, python).show_and_exec()
