"""Word count: for each word, how many distinct other words share a line with it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import orjson

from common.api import InputLines, Read
from common.base.lines import parse_line
from common.wire.messages import MessageError

if TYPE_CHECKING:
    import pyarrow as pa

NEIGHBOURS_FILE = "neighbours.json"  # of a generation: by it a pair counts once, for good


class Lines(InputLines):
    """Words, whatever the settings say."""

    def read(self, lines: pa.StringArray) -> Read:
        """Return the lines themselves in a column ``line``; one without words is refused."""
        # Every process imports all families, for their settings; most read no lines.
        import pyarrow as pa
        import pyarrow.compute as pc

        blank = pc.fill_null(pc.equal(pc.utf8_trim_whitespace(lines), ""), True)
        reasons = pc.if_else(blank, "there is no word", pa.scalar(None, pa.string()))
        return Read(pa.record_batch({"line": lines}), reasons)


def neighbours(lines: Iterable[str]) -> dict[str, set[str]]:
    """Return for each word the distinct other words that share a line with it."""
    found: dict[str, set[str]] = {}
    for words in (set(line.split()) for line in lines):
        for word in words:
            found.setdefault(word, set()).update(words - {word})
    return found


def read_model(text: str) -> dict[str, int]:
    """Read a MODEL, a JSON object of words and counts; raises MessageError if it is none."""
    try:
        return {word: int(count) for word, count in orjson.loads(text).items()}
    except (ValueError, TypeError, AttributeError) as error:
        message = f"not a JSON object of words and counts: {error}"
        raise MessageError(message) from error


def read_update(update: str) -> tuple[str, int, list[str]]:
    """Read ``word,count[,new neighbour...]``; raises MessageError if it is not that."""
    try:
        word, count, *new = parse_line(update)
        return word, int(count), new
    except ValueError as error:
        message = f"not word,count: {error}"
        raise MessageError(message) from error
