"""``python -m tests.fuzz TARGET… [--seconds N]``: fuzz targets with atheris, by coverage.

Inputs that reach new code are added to ``.gemsbok/fuzz/TARGET``, beside the seeds that are kept
in ``tests/fuzz/corpus``.  The exit code is not 0 where an input was found at which a target
fails; the input lies in a file that the last lines name, and later targets are not tried.
atheris has wheels for some versions of Python alone.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from pathlib import Path

from common.base.paths import home

CORPUS = Path(__file__).parent / "corpus"


def main() -> None:
    """Fuzz each target until its time is over, in a process of its own, which atheris ends."""
    import atheris  # type: ignore[import-untyped]

    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Fuzz targets.")
    parser.add_argument("targets", nargs="+", metavar="TARGET")
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--found", type=Path, default=home() / "fuzz", help="folder of new inputs")
    given = parser.parse_args()
    with atheris.instrument_imports(include=["common", "serving_layer"]):
        targets = importlib.import_module("tests.fuzz.targets").TARGETS
    for name in given.targets:
        if name not in targets:
            parser.error(f"there is no target {name!r}: {', '.join(targets)}")
    for name in given.targets:
        print(f"target {name}", file=sys.stderr, flush=True)
        # What is imported, which takes longest, is there for all of them.
        child = os.fork()
        if child == 0:
            options = options_for(name, given.found / name, given.seconds)
            atheris.Setup([sys.argv[0], *options], targets[name])
            atheris.Fuzz()
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if code:
            sys.exit(code)


def options_for(name: str, new: Path, seconds: int) -> list[str]:
    """Return the options of libFuzzer, which keeps what it finds in the folder `new`."""
    new.mkdir(parents=True, exist_ok=True)
    return [
        f"-max_total_time={seconds}",
        "-max_len=4096",
        "-timeout=10",
        "-rss_limit_mb=2048",
        f"-artifact_prefix={new}/failing-",
        str(new),
        str(CORPUS / name),
    ]


if __name__ == "__main__":
    main()
