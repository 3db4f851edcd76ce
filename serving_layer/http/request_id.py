"""The id of a request: it is in the reply, in the log, and in whatever is said of an error."""

from __future__ import annotations

import random
import re

_USABLE = re.compile(r"[A-Za-z0-9._-]{1,64}")


def request_id(given: str | None = None) -> str:
    """Return the id that a sender gave to his request; a new one for none that can be used."""
    if given and _USABLE.fullmatch(given):
        return given
    # Nothing hangs on its secrecy.  To ask the system for each would let go of Python's lock.
    return f"{random.getrandbits(64):016x}"
