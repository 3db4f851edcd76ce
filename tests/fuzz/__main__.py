"""``python -m tests.fuzz TARGET [--seconds N]``: fuzz one target with atheris, by coverage.

Inputs that reach new code are added to ``.gemsbok/fuzz/TARGET``, beside the seeds that are kept
in ``tests/fuzz/corpus``.  The exit code is not 0 where an input was found at which the target
fails; the input lies in a file that the last lines name.  atheris has wheels for some versions
of Python alone.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path

from common.base.paths import home

CORPUS = Path(__file__).parent / "corpus"


def main() -> None:
    """Fuzz until the time is over; atheris ends the process."""
    import atheris  # type: ignore[import-untyped]

    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Fuzz one target.")
    parser.add_argument("target")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--found", type=Path, default=home() / "fuzz", help="folder of new inputs")
    given = parser.parse_args()
    with atheris.instrument_imports(include=["common", "serving_layer"]):
        targets = importlib.import_module("tests.fuzz.targets").TARGETS
    if given.target not in targets:
        parser.error(f"there is no target {given.target!r}: {', '.join(targets)}")
    new = given.found / given.target
    new.mkdir(parents=True, exist_ok=True)
    options = [
        f"-max_total_time={given.seconds}",
        "-max_len=4096",
        "-timeout=10",
        "-rss_limit_mb=2048",
        f"-artifact_prefix={new}/failing-",
        str(new),
        str(CORPUS / given.target),
    ]
    atheris.Setup([sys.argv[0], *options], targets[given.target])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
