"""Logging to standard error, one line for each event."""

from __future__ import annotations

import logging
import re
import sys
from typing import TextIO

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


class OneLine(logging.Formatter):
    """Formats an event as one line; control characters and line separators are escaped.

    Ids come from clients: an unescaped line break would let a client forge log lines.

    Parameters
    ----------
    writer : str
        Name of the process, for a log that several processes write.
    """

    def __init__(self, writer: str = "") -> None:
        mark = f"[{writer}] " if writer else ""
        super().__init__(f"%(asctime)s %(levelname)s {mark}%(name)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        """Return the event as one line; the line breaks of a traceback are escaped."""
        return _CONTROL.sub(_escaped, super().format(record))


def _escaped(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode()


def log_to_stderr(stream: TextIO | None = None) -> None:
    """Write the events of all loggers, from level INFO on, to standard error."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(OneLine())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    logging.getLogger("py4j").setLevel(logging.WARNING)
    # kafka-python logs each connection attempt as an error; common.broker reports failures once.
    logging.getLogger("kafka").setLevel(logging.CRITICAL)
