"""Fail points: named places at which a test kills the process, to prove that a restart recovers."""

from __future__ import annotations

import os
import signal
from collections import Counter

_hits: Counter[str] = Counter()


def failpoint(name: str) -> None:
    """Send SIGKILL to this process's group if ``GEMSBOK_FAILPOINT`` names this fail point.

    ``GEMSBOK_FAILPOINT=name`` kills when `name` is reached for the first time, ``name:3`` when
    it is reached for the third.  The group includes the Java process.
    """
    setting = os.environ.get("GEMSBOK_FAILPOINT")
    if setting is None:
        return
    target, _, count = setting.partition(":")
    if target != name:
        return
    _hits[name] += 1
    if _hits[name] == int(count or 1):
        os.killpg(os.getpgid(0), signal.SIGKILL)
