"""Entry point of the command line: gathers the verbs and shows errors without a traceback.

A verb is a module ``cli/<verb>.py`` with a `typer.Typer` named ``app``, or a
function of that name, and a line in ``VERBS``. Modules import what is heavy
(Spark, Kafka, NumPy) inside their functions, so that ``--help`` stays quick.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from stack.errors import UserError

VERBS = (
    "demo",
    "up",
    "down",
    "status",
    "doctor",
    "kafka",
    "topics",
    "ingest",
    "batch",
    "speed",
    "serving",
    "model",
    "config",
    "auth",
    "bench",
)


def build_app() -> typer.Typer:
    """Return the application with every verb whose module is there."""
    app = typer.Typer(
        name="gemsbok",
        help="Gemsbok: batch, speed and serving layers for machine-learning models.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich" if sys.stdout.isatty() else None,
    )
    app.callback()(_options)
    for verb in VERBS:
        # A local name, so that `cli.kafka` is never confused with the client library.
        if importlib.util.find_spec(f"cli.{verb}"):
            _add(app, verb)
    return app


def _show_version(wanted: bool) -> None:
    if wanted:
        from common import __version__

        print(f"Gemsbok {__version__}")
        raise typer.Exit


Version = Annotated[
    bool,
    typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
]


def _options(version: Version = False) -> None:
    """Take the options that stand before the verb; the help text is the application's."""


def _add(app: typer.Typer, verb: str) -> None:
    module = importlib.import_module(f"cli.{verb}")
    group, command = getattr(module, "app", None), getattr(module, verb, None)
    if isinstance(group, typer.Typer):
        app.add_typer(group, name=verb)
    elif callable(command):
        app.command(verb)(command)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb.

    Parameters
    ----------
    arguments
        The verb and its options; those of the process by default.

    Returns
    -------
    int
        The exit code: 0 for success, 1 for a failure, 2 for a wrong call, and
        others as the verbs say.
    """
    # What the verbs and the processes that they start write is for their owner alone.
    os.umask(0o077)
    try:
        build_app()(args=arguments, prog_name="gemsbok")
    except UserError as error:
        print(f"gemsbok: {error}", file=sys.stderr)
        return error.exit_code
    except SystemExit as end:
        # Typer ends the process itself, also for a wrong call and for Ctrl-C.
        return end.code if isinstance(end.code, int) else 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
