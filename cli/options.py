"""Options that several verbs share: which configuration."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    pass

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
