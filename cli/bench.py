"""Verb ``bench``: the benchmarks, in the clone that this command line belongs to."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from stack import paths
from stack.errors import EXIT_UNAVAILABLE, UserError


def bench(
    quick: Annotated[bool, typer.Option(help="Small sizes: under five minutes.")] = False,
    only: Annotated[list[str] | None, typer.Option(help="One benchmark; may be repeated.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for JSON and plots.")] = None,
) -> None:
    """Measure ours beside its peers; see benchmarks/README.md."""
    if not (paths.ROOT / "benchmarks").is_dir():
        message = "The benchmarks are not part of an installation."
        raise UserError(message, "Run bin/gemsbok bench in a clone.", EXIT_UNAVAILABLE)
    command = [sys.executable, "-m", "benchmarks"]
    command += ["--quick"] if quick else []
    command += ["--only", *only] if only else []
    command += ["--out", str(out.absolute())] if out else []
    raise typer.Exit(subprocess.run(command, cwd=paths.ROOT, check=False).returncode)
