"""Verb ``serving``: the serving layer in the foreground."""

from __future__ import annotations

from cli.options import Conf, Sets
from stack.configuration import settings_of
from stack.launch import by_python, layer_arguments


def serving(conf: Conf = None, sets: Sets = None) -> None:
    """Run the serving layer, until Ctrl-C."""
    settings_of(conf, sets)
    by_python("serving", layer_arguments(conf, sets)).exec()
