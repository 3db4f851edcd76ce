"""What every layer's process begins with: its arguments, its log, its family, its topics."""

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
#: Something that the process needs is not there (sysexits' EX_UNAVAILABLE).
EXIT_UNAVAILABLE = 69
#: Another process holds the lock; a later call may succeed (sysexits' EX_TEMPFAIL).
EXIT_LOCKED = 75


def keep_files_private() -> None:
    """Let only the owner read what this process and its children write from now on."""
    os.umask(0o077)


def parser(layer: str, description: str) -> argparse.ArgumentParser:
    """Return a parser with the arguments that all layers share."""
    made = argparse.ArgumentParser(prog=f"{layer}_layer", description=description)
    made.add_argument("--conf", type=Path, metavar="FILE", help="configuration file (TOML)")
    made.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="one setting, over file and environment; may be repeated",
    )
    return made


def exit_code(run: Callable[[], int], codes: Mapping[type[Exception], int]) -> int:
    """Run a layer and return its exit code.

    Parameters
    ----------
    run : callable
        Returns the code of an end that was asked for.
    codes : mapping of exception type to int
        What ends the process with a line in the log and this code, not with a traceback.
    """
    try:
        return run()
    except tuple(codes) as error:
        log.error("%s", error)
        return next(code for kind, code in codes.items() if isinstance(error, kind))


def settings_of(given: argparse.Namespace) -> Settings:
    """Load the configuration that the shared arguments name.

    Raises
    ------
    ConfigError
        If it is wrong, or a ``--set`` is not ``KEY=VALUE``.
    """
    return load(given.conf, flag_pairs(given.set))
