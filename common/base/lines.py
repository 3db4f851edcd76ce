r"""Parsing and writing input lines: one event a line, CSV or a JSON array.

A line that starts with ``[`` and ends with ``]`` is a JSON array of scalars; any other is CSV
by RFC 4180, with a backslash that escapes the next character (Oryx's rule).
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any, NoReturn

#: Characters that need a parser; a line without any of them is split at its commas.
ODD = re.compile(r'["\\\[\r\n]')
_QUOTED = re.compile(r'"((?:[^"\\]|\\.|"")*)"', re.DOTALL)
_PLAIN = re.compile(r"(?:[^,\\\r\n]|\\.)*", re.DOTALL)
_ESCAPED = re.compile(r'\\(.)|"(")', re.DOTALL)
_ESCAPED_PLAIN = re.compile(r"\\(.)", re.DOTALL)
_NEEDS_QUOTES = re.compile(r'[",\\\r\n]|^\[', re.DOTALL)


class LineError(ValueError):
    """A line that cannot be read; the text says what is wrong and at which character."""


def parse_line(line: str) -> list[str]:
    """Return the tokens of a line.

    JSON numbers and booleans keep their text; ``null`` becomes an empty token.

    Raises
    ------
    LineError
        If the line is neither CSV nor a JSON array of scalars.
    """
    if not ODD.search(line):
        return line.split(",")
    line = line.rstrip("\r\n")
    if line.startswith("[") and line.endswith("]"):
        return _parse_json(line)
    return _parse_csv(line)


def join_line(tokens: Sequence[str]) -> str:
    """Return `tokens` as a CSV line, quoted where needed; ``[]`` if there are no tokens.

    :func:`parse_line` reads the same tokens back.
    """
    if not tokens:
        return "[]"
    return ",".join(_quoted(token) if _NEEDS_QUOTES.search(token) else token for token in tokens)


def _parse_json(line: str) -> list[str]:
    try:
        values = json.loads(line, parse_float=str, parse_int=str, parse_constant=_refuse)
        tokens = [_scalar(value) for value in values]
        "".join(tokens).encode()
    except (ValueError, RecursionError) as error:
        message = f"not a JSON array of scalars: {error}"
        raise LineError(message) from None
    return tokens


def _refuse(constant: str) -> NoReturn:
    message = f"{constant} is not JSON"
    raise ValueError(message)


def _scalar(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return value
    message = f"it holds an {'array' if isinstance(value, list) else 'object'}"
    raise ValueError(message)


def _parse_csv(line: str) -> list[str]:
    tokens: list[str] = []
    position = 0
    while True:
        quoted = line.startswith('"', position)
        match = (_QUOTED if quoted else _PLAIN).match(line, position)
        if match is None:
            message = f"the quote at character {position + 1} is not closed"
            raise LineError(message)
        body = match[1] if quoted else match[0]
        tokens.append((_ESCAPED if quoted else _ESCAPED_PLAIN).sub(_unescaped, body))
        position = match.end()
        if position == len(line):
            return tokens
        if line[position] != ",":
            message = f"{_misplaced(line, position)} at character {position + 1}"
            raise LineError(message)
        position += 1


def _unescaped(match: re.Match[str]) -> str:
    return match[match.lastindex or 0]


def _misplaced(line: str, at: int) -> str:
    if line[at] == "\\":
        return "a backslash with nothing after it"
    return "a line break outside quotes" if line[at] in "\r\n" else "text after a closing quote"


def _quoted(token: str) -> str:
    return '"' + token.replace("\\", "\\\\").replace('"', '""') + '"'
