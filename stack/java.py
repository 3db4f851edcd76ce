"""The Java that Spark and the broker run on."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from stack.errors import EXIT_UNAVAILABLE, UserError

MINIMUM_VERSION = 17
# Spark's columnar code uses it; a JRE that was cut down may lack it.
REQUIRED_MODULE = "jdk.incubator.vector"
REMEDY = (
    "Install Java 17 or newer, for instance `apt-get install openjdk-17-jre-headless` or "
    "`brew install openjdk@17`, and set JAVA_HOME if it is not the java on PATH."
)


@dataclass(frozen=True)
class Java:
    """One Java installation: its launcher, major version and required module."""

    path: Path
    version: int
    has_module: bool


def java_path() -> Path:
    """Return the launcher that Spark would take: JAVA_HOME's, else the one on PATH.

    Raises
    ------
    UserError
        There is none.
    """
    java_home = os.environ.get("JAVA_HOME")
    if java_home:
        path = Path(java_home, "bin", "java")
        if os.access(path, os.X_OK):
            return path
        msg = f"JAVA_HOME is {java_home}, which has no bin/java."
        raise UserError(msg, REMEDY, EXIT_UNAVAILABLE)
    found = shutil.which("java")
    if not found:
        msg = "There is no java on PATH, and no JAVA_HOME."
        raise UserError(msg, REMEDY, EXIT_UNAVAILABLE)
    return Path(found)


def inspect(path: Path) -> Java:
    """Ask the launcher at `path` for its version and modules."""
    return Java(path, _version(path), REQUIRED_MODULE in _output(path, "--list-modules"))


def _version(path: Path) -> int:
    """Return the major version: 17 for "17.0.15", 8 for "1.8.0_402", 0 if there is none."""
    match = re.search(r'version "(?:1\.)?(\d+)', _output(path, "-version"))
    return int(match.group(1)) if match else 0


def _output(path: Path, option: str) -> str:
    done = subprocess.run([path, option], capture_output=True, text=True, check=False)
    return done.stdout + done.stderr
