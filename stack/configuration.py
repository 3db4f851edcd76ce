"""The configuration that a command line names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from stack.errors import EXIT_USAGE, UserError

if TYPE_CHECKING:
    from common.config import Settings


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
    from common.config.sources import ConfigError, flag_pairs
    from common.runtime.configuration import load_with_origins

    try:
        return load_with_origins(conf, flag_pairs(sets or ()))
    except ConfigError as error:
        message = f"The configuration is wrong.\n{error}"
        raise UserError(message, exit_code=EXIT_USAGE) from None
