"""The log: one line of text to standard error for each event."""

from __future__ import annotations

import logging
import re
import sys
from typing import TextIO

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


class OneLine(logging.Formatter):
    """Writes an event on one line; what could start another line or colour it is escaped.

    Ids come from clients: a line break in one would let its sender write log lines.
    """

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        """Return the event's line; a traceback is on it too, its line breaks escaped."""
        return _CONTROL.sub(_escaped, super().format(record))


def _escaped(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode()


def to_stderr(stream: TextIO | None = None) -> None:
    """Send all loggers' events, from INFO on, to standard error."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(OneLine())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
