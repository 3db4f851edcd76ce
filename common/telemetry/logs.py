"""The log: one line for each event, on standard error."""

from __future__ import annotations

import logging
import re
import sys
from typing import TextIO

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


class OneLine(logging.Formatter):
    """Writes an event on one line; what could start another line or colour it is escaped.

    Ids come from clients: a line break in one would let its sender write log lines.

    Parameters
    ----------
    writer : str
        Who writes it, where several processes write one log.
    """

    def __init__(self, writer: str = "") -> None:
        mark = f"[{writer}] " if writer else ""
        super().__init__(f"%(asctime)s %(levelname)s {mark}%(name)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        """Return the event's line; a traceback is on it too, its line breaks escaped."""
        return _CONTROL.sub(_escaped, super().format(record))


def _escaped(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode()


def log_to_stderr(stream: TextIO | None = None) -> None:
    """Send all loggers' events, from INFO on, to standard error."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(OneLine())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    logging.getLogger("py4j").setLevel(logging.WARNING)
    # It tells each attempt to connect as an error; common.broker says once what matters.
    logging.getLogger("kafka").setLevel(logging.CRITICAL)
