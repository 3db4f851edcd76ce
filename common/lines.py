r"""Input lines: how an event is written, and how many of them are read at once.

A line that starts with ``[`` and ends with ``]`` is a JSON array of scalars; any other is CSV
by RFC 4180, in which a backslash takes the next character literally (Oryx's rule).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyarrow import csv

#: A line with none of these is split at its commas, and that is all.
_ODD = re.compile(r'["\\\[\r\n]')
_QUOTED = re.compile(r'"((?:[^"\\]|\\.|"")*)"', re.DOTALL)
_PLAIN = re.compile(r"(?:[^,\\\r\n]|\\.)*", re.DOTALL)
_ESCAPED = re.compile(r'\\(.)|"(")', re.DOTALL)
_ESCAPED_PLAIN = re.compile(r"\\(.)", re.DOTALL)
#: What no plain line holds; a line break shows otherwise.
_MARKS = (b'"', b"\\", b"\r")
_PLAIN_LINES = csv.ParseOptions(
    quote_char=False, double_quote=False, escape_char=False, ignore_empty_lines=False
)
_NEEDS_QUOTES = re.compile(r'[",\\\r\n]|^\[', re.DOTALL)


class LineError(ValueError):
    """A line that cannot be read; the text says what is wrong and at which character."""


def parse_line(line: str) -> list[str]:
    """Return the tokens of a line.

    JSON numbers keep their text, ``true`` and ``false`` too; ``null`` becomes an empty token.

    Raises
    ------
    LineError
        If it is neither CSV nor a JSON array of scalars.
    """
    if not _ODD.search(line):
        return line.split(",")
    line = line.rstrip("\r\n")
    if line.startswith("[") and line.endswith("]"):
        return _parse_json(line)
    return _parse_csv(line)


def join_line(tokens: Sequence[str]) -> str:
    """Return the CSV line of `tokens`, with quotes where needed; ``[]`` where there are none.

    :func:`parse_line` reads the same tokens back.
    """
    if not tokens:
        return "[]"
    return ",".join(_quoted(token) if _NEEDS_QUOTES.search(token) else token for token in tokens)


def split_columns(
    lines: pa.StringArray, n_min: int, n_max: int
) -> tuple[list[pa.StringArray], pa.StringArray]:
    """Split many lines into columns.

    Parameters
    ----------
    lines : StringArray
        The lines; a null is refused.
    n_min, n_max : int
        How many tokens a line may have.

    Returns
    -------
    columns : list of StringArray
        `n_max` of them, each as long as `lines`: null where a line has no such token or is
        refused.
    reasons : StringArray
        Why a line is refused; null where it is good.
    """
    odd = pc.fill_null(pc.match_substring_regex(lines, _ODD.pattern), False)
    odd_rows = np.flatnonzero(odd.to_numpy(zero_copy_only=False))
    parsed, errors = _parse_each(lines.take(pa.array(odd_rows)))
    tokens = _replaced(pc.split_pattern(lines, ","), odd_rows, parsed)
    counts = tokens.value_lengths().to_numpy(zero_copy_only=False)
    good = (counts >= n_min) & (counts <= n_max)
    fields = f"{n_min}" if n_min == n_max else f"{n_min} to {n_max}"
    reasons = {
        row: "no value" if np.isnan(counts[row]) else f"{counts[row]:.0f} fields, not {fields}"
        for row in np.flatnonzero(~good)
    }
    reasons.update({row: error for row, error in zip(odd_rows, errors, strict=True) if error})
    columns = [_column(tokens, n, good & (counts > n)) for n in range(n_max)]
    return columns, sparse_strings(reasons, len(lines))


def plain_columns(
    lines: pa.StringArray, n_tokens: int, kinds: Mapping[int, pa.DataType]
) -> list[pa.Array] | None:
    """Read many plain lines at once, straight into columns of the kinds asked for.

    Plain is what has nothing but tokens between commas.  It takes a fraction of the time of
    :func:`split_columns`, which is for whatever this does not take.

    Parameters
    ----------
    lines : StringArray
        The lines.
    n_tokens : int
        How many tokens each has.
    kinds : mapping of int to DataType
        Which tokens to read, and as what: strings, dictionaries of strings, or float64.

    Returns
    -------
    list of Array or None
        A column for each of `kinds`, in which an empty token is null.  None if a line may not
        be plain, has another number of tokens, or one that is not of its kind.  (Numbers are
        what Arrow takes for them: NaN and infinities too.)
    """
    if lines.null_count or pc.any(_empty_or_json(lines)).as_py():
        return None
    names = {str(number): kind for number, kind in kinds.items()}
    convert = csv.ConvertOptions(
        column_types=names, include_columns=list(names), null_values=[""], strings_can_be_null=True
    )
    try:
        data = _text(lines, ",".join(map(str, range(n_tokens))))
        if any(mark in data for mark in _MARKS):
            return None
        read = csv.ReadOptions(use_threads=False, block_size=len(data))
        table = csv.read_csv(pa.BufferReader(data), read, _PLAIN_LINES, convert)
    except pa.ArrowException:
        return None
    # More rows than lines: a line had a line break in it.
    return [table[name].combine_chunks() for name in names] if len(table) == len(lines) else None


def _empty_or_json(lines: pa.StringArray) -> pa.BooleanArray:
    return pc.or_(pc.equal(lines, ""), pc.starts_with(lines, "["))


def _text(lines: pa.StringArray, header: str) -> bytes:
    """Return lines as one text, each with its end, below a header.

    With a header, nothing at the first line's start is taken for a mark of encoding.
    """
    whole = pa.concat_arrays([pa.array([header]), lines, pa.array([""])])
    text = pc.binary_join(pa.ListArray.from_arrays([0, len(whole)], whole), "\n")[0]
    found: bytes = text.as_buffer().to_pybytes()
    return found


def sparse_strings(values: Mapping[Any, str], length: int) -> pa.StringArray:
    """Return a column that is null except in the rows that `values` names."""
    if not values:
        return pa.nulls(length, pa.string())
    rows: list[str | None] = [None] * length
    for row, value in values.items():
        rows[row] = value
    return pa.array(rows, pa.string())


def _parse_json(line: str) -> list[str]:
    try:
        found = json.loads(line, parse_float=str, parse_int=str, parse_constant=_refuse)
        tokens = [_scalar(value) for value in found]
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
    at = 0
    while True:
        quoted = line.startswith('"', at)
        found = (_QUOTED if quoted else _PLAIN).match(line, at)
        if found is None:
            message = f"the quote at character {at + 1} is not closed"
            raise LineError(message)
        body = found[1] if quoted else found[0]
        tokens.append((_ESCAPED if quoted else _ESCAPED_PLAIN).sub(_unescaped, body))
        at = found.end()
        if at == len(line):
            return tokens
        if line[at] != ",":
            message = f"{_misplaced(line, at)} at character {at + 1}"
            raise LineError(message)
        at += 1


def _unescaped(found: re.Match[str]) -> str:
    return found[found.lastindex or 0]


def _misplaced(line: str, at: int) -> str:
    if line[at] == "\\":
        return "a backslash with nothing after it"
    return "a line break outside quotes" if line[at] in "\r\n" else "text after a closing quote"


def _quoted(token: str) -> str:
    return '"' + token.replace("\\", "\\\\").replace('"', '""') + '"'


def _parse_each(lines: pa.StringArray) -> tuple[list[list[str] | None], list[str | None]]:
    """Parse the odd lines one by one; for each either its tokens or the reason why not."""
    parsed: list[list[str] | None] = []
    errors: list[str | None] = []
    for line in lines.to_pylist():
        try:
            parsed.append(parse_line(line))
            errors.append(None)
        except LineError as error:
            parsed.append(None)
            errors.append(str(error))
    return parsed, errors


def _replaced(
    tokens: pa.ListArray, rows: NDArray[np.int64], others: list[list[str] | None]
) -> pa.ListArray:
    """Put `others` in the place of `rows`."""
    if not len(rows):
        return tokens
    source = np.arange(len(tokens))
    source[rows] = len(tokens) + np.arange(len(rows))
    both = pa.concat_arrays([tokens, pa.array(others, tokens.type)])
    return both.take(pa.array(source))


def _column(tokens: pa.ListArray, n: int, present: NDArray[np.bool_]) -> pa.StringArray:
    """Take the n-th token of each list, null where it is not present."""
    at = tokens.offsets.to_numpy()[:-1] + n
    return tokens.values.take(pa.array(at, mask=~present))
