"""Paths of an installation: the code, the state folder, the jars.

Everything that a run writes is in the state folder: ``$GEMSBOK_HOME``, or ``.gemsbok``
beside the code.
"""

from __future__ import annotations

import os
from pathlib import Path

#: The folder that holds the packages.
ROOT = Path(__file__).resolve().parents[2]


def home() -> Path:
    """Return the state folder, absolute; it need not exist yet."""
    return Path(os.environ.get("GEMSBOK_HOME") or ROOT / ".gemsbok").absolute()


def jars_dir(jar_set: str) -> Path:
    """Return the folder of one set of jars, ``spark`` or ``kafka``."""
    return home() / "jars" / jar_set
