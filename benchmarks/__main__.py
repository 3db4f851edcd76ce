"""Runs all benchmarks in sequence: ``python -m benchmarks [--quick] [--only NAME …]``.

Each runs in a process of its own, so that none warms up or fills the memory of another.  A
benchmark that fails reports no figure and is named at the end; the exit code is then 1.
"""

from __future__ import annotations

import argparse
import os
import pkgutil
import subprocess
import sys
import time
from datetime import datetime, timezone
from pathlib import Path

import benchmarks
from common.base.paths import home

#: Modules that are not benchmarks.
PARTS = {
    "__main__",
    "against_bare",
    "alongside",
    "als_data",
    "growth_plot",
    "layers",
    "load",
    "memory",
    "report",
    "serving_process",
    "top_n_peers",
    "top_n_subject",
}
#: In a quick run, Java's optimizing compiler costs more time than it saves.
QUICK = {"JAVA_TOOL_OPTIONS": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"}


def names() -> list[str]:
    """Return the names of all benchmarks."""
    return sorted(
        module.name
        for module in pkgutil.iter_modules(benchmarks.__path__)
        if module.name not in PARTS
    )


def main() -> int:
    """Run the selected benchmarks; return the exit code."""
    parser = argparse.ArgumentParser(description="Run the benchmarks.")
    parser.add_argument("--quick", action="store_true", help="small sizes, under five minutes")
    parser.add_argument("--only", nargs="+", choices=names(), default=names(), metavar="NAME")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="for JSON and plots")
    arguments = parser.parse_args()
    out = arguments.out or home() / "bench" / f"{datetime.now(timezone.utc):%Y-%m-%dT%H%M%SZ}"
    failed = [name for name in arguments.only if not ran(name, out, arguments.quick)]
    print(f"\nresults: {out}")
    if failed:
        print(f"failed, without a figure: {', '.join(failed)}")
    return 1 if failed else 0


def ran(name: str, out: Path, quick: bool) -> bool:
    """Run one benchmark; False if it failed."""
    print(f"\n== {name}", flush=True)
    command = [sys.executable, "-m", f"benchmarks.{name}", "--out", str(out)]
    command += ["--quick"] if quick else []
    started = time.monotonic()
    done = subprocess.run(command, env={**(QUICK if quick else {}), **os.environ}, check=False)
    print(f"({time.monotonic() - started:.0f} s)", flush=True)
    return done.returncode == 0


if __name__ == "__main__":
    sys.exit(main())
