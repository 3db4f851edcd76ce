"""Places where a test can kill the process, to prove that a restart repairs everything."""

from __future__ import annotations

import os
import signal
from collections import Counter

_hits: Counter[str] = Counter()


def failpoint(name: str) -> None:
    """Kill this process's group by SIGKILL if the environment asks for it here.

    ``GEMSBOK_FAILPOINT=name`` asks for the first time that `name` is reached, ``name:3`` for
    the third.  The group holds the Java process too.
    """
    wanted = os.environ.get("GEMSBOK_FAILPOINT")
    if wanted is None:
        return
    place, _, count = wanted.partition(":")
    if place != name:
        return
    _hits[name] += 1
    if _hits[name] == int(count or 1):
        os.killpg(os.getpgid(0), signal.SIGKILL)
