"""Options that several verbs share: which configuration."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.errors import EXIT_USAGE, UserError

if TYPE_CHECKING:
    from common.config import Settings

Conf = Annotated[
    Path | None,
    typer.Option("--conf", envvar="GEMSBOK_CONF", help="Configuration file; defaults without one."),
]
Sets = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="One key's value, over the file's; repeatable."
    ),
]


def settings_of(conf: Path | None = None, sets: Sequence[str] | None = None) -> Settings:
    """Load the configuration that the options name.

    Raises
    ------
    UserError
        If it is wrong; the message tells every mistake.
    """
    return loaded_of(conf, sets)[0]


def loaded_of(
    conf: Path | None = None, sets: Sequence[str] | None = None
) -> tuple[Settings, dict[str, str]]:
    """Load as :func:`settings_of` does, with the origin of each key that was given."""
    from common.config import load_with_origins
    from common.config_sources import ConfigError, flag_pairs

    try:
        return load_with_origins(conf, flag_pairs(sets or ()))
    except ConfigError as error:
        message = f"The configuration is wrong.\n{error}"
        raise UserError(message, exit_code=EXIT_USAGE) from None
