"""All benchmarks, one after the other: ``python -m benchmarks [--quick] [--only NAME …]``.

Each runs in a process of its own, so that none warms up or fills the memory of another.  One
that fails is named at the end and leaves no figure; the exit code is then 1.
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

#: Modules that are parts of others.
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
#: Java's second compiler takes longer than what it compiles in a quick run.
QUICK = {"JAVA_TOOL_OPTIONS": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"}


def names() -> list[str]:
    """Return the names of all benchmarks."""
    return sorted(
        found.name for found in pkgutil.iter_modules(benchmarks.__path__) if found.name not in PARTS
    )


def main() -> int:
    """Run what is asked for; returns the exit code."""
    parser = argparse.ArgumentParser(description="Run the benchmarks.")
    parser.add_argument("--quick", action="store_true", help="small sizes, under five minutes")
    parser.add_argument("--only", nargs="+", choices=names(), default=names(), metavar="NAME")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="for JSON and plots")
    given = parser.parse_args()
    out = given.out or home() / "bench" / f"{datetime.now(timezone.utc):%Y-%m-%dT%H%M%SZ}"
    failed = [name for name in given.only if not ran(name, out, given.quick)]
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
