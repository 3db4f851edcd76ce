"""A topic's record as a line on the terminal."""

from __future__ import annotations

import json
import shutil
import sys
from datetime import datetime, timezone
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from common.broker import Record

HEADER_CHARACTERS = 12


def show_record(topic: str, record: Record, as_json: bool) -> None:
    """Print a record on one line; on a terminal cut to its width."""
    line = json.dumps(as_object(topic, record)) if as_json else as_line(topic, record)
    if sys.stdout.isatty() and not as_json:
        width = shutil.get_terminal_size().columns
        line = line if len(line) <= width else f"{line[: width - 1]}…"
    print(line, flush=True)


def as_object(topic: str, record: Record) -> dict[str, object]:
    """Return a record as a JSON object; bytes that are not UTF-8 are replaced by U+FFFD."""
    return {
        "topic": topic,
        "partition": record.partition,
        "offset": record.offset,
        "timestamp": record.timestamp,
        "key": _text(record.key),
        "headers": [[name, _text(value)] for name, value in record.headers],
        "value": _text(record.value),
    }


def as_line(topic: str, record: Record) -> str:
    """Return where and when a record is, its key, its headers cut short, and its value."""
    time = datetime.fromtimestamp(record.timestamp / 1000, timezone.utc)
    parts = [
        f"{topic}/{record.partition}:{record.offset}",
        time.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "-" if record.key is None else _printable(record.key),
        *(f"{_printable(name)}={_short(value)}" for name, value in record.headers),
    ]
    return f"{' '.join(parts)}\t{_printable(record.value)}"


def _text(data: bytes | None) -> str | None:
    return None if data is None else data.decode(errors="replace")


def _printable(data: bytes | str | None) -> str:
    """Return text without what would move a terminal's cursor or colour it."""
    text = data if isinstance(data, str) else _text(data) or ""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _short(value: bytes | None) -> str:
    text = _printable(value)
    return text if len(text) <= HEADER_CHARACTERS else f"{text[:HEADER_CHARACTERS]}…"
