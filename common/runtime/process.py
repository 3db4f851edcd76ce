"""Start of every layer's process: arguments, settings, exit codes, private files."""

from __future__ import annotations

import argparse
import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from common.config import Settings
from common.config.sources import flag_pairs
from common.runtime.configuration import load

log = logging.getLogger(__name__)

EXIT_FAILED = 1
EXIT_USAGE = 2
#: Something that the process needs is absent (sysexits' EX_UNAVAILABLE).
EXIT_UNAVAILABLE = 69
#: Another process holds the lock; a later call may succeed (sysexits' EX_TEMPFAIL).
EXIT_LOCKED = 75


def keep_files_private() -> None:
    """Make the files that this process and its children create readable by their owner only."""
    os.umask(0o077)


def parser(layer: str, description: str) -> argparse.ArgumentParser:
    """Return a parser with the arguments that all layers share."""
    arguments = argparse.ArgumentParser(prog=f"{layer}_layer", description=description)
    arguments.add_argument("--conf", type=Path, metavar="FILE", help="configuration file (TOML)")
    arguments.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="one setting, over file and environment; may be repeated",
    )
    return arguments


def exit_code(run: Callable[[], int], codes: Mapping[type[Exception], int]) -> int:
    """Run a layer and return its exit code.

    Parameters
    ----------
    run : callable
        Runs until the layer is stopped, and returns the exit code.
    codes : mapping of exception type to int
        Exceptions that end the process with one line in the log and this code; all others
        propagate.
    """
    try:
        return run()
    except tuple(codes) as error:
        log.error("%s", error)
        return next(code for kind, code in codes.items() if isinstance(error, kind))


def settings_of(arguments: argparse.Namespace) -> Settings:
    """Load the configuration that the shared arguments name.

    Raises
    ------
    ConfigError
        If the configuration is wrong, or a ``--set`` is not ``KEY=VALUE``.
    """
    return load(arguments.conf, flag_pairs(arguments.set))
