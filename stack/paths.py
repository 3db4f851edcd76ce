"""Where the parts of an installation lie, beside what :mod:`common.base.paths` knows."""

from __future__ import annotations

from pathlib import Path

from common.base.paths import ROOT, home, jars_dir

__all__ = ["JARS_LOCK", "REQUIREMENTS_LOCK", "ROOT", "cache_dir", "home", "jars_dir", "logs_dir"]

REQUIREMENTS_LOCK = ROOT / "requirements.lock"
JARS_LOCK = ROOT / "jars.lock"


def logs_dir() -> Path:
    """Return the folder of all logs."""
    return home() / "logs"


def cache_dir() -> Path:
    """Return the folder of downloads and of results that can be made again."""
    return home() / "cache"
