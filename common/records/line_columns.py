"""Splits many input lines at once into columns of tokens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyarrow import csv

from common.base.lines import ODD, LineError, parse_line

#: Bytes that no plain line has; a line break is found by the number of rows.
_MARKS = (b'"', b"\\", b"\r")
_PLAIN_LINES = csv.ParseOptions(
    quote_char=False, double_quote=False, escape_char=False, ignore_empty_lines=False
)


def split_columns(
    lines: pa.StringArray, n_min: int, n_max: int
) -> tuple[list[pa.StringArray], pa.StringArray]:
    """Split lines into columns.

    Parameters
    ----------
    lines : StringArray
        The lines; nulls are refused.
    n_min, n_max : int
        Smallest and largest number of tokens in a line.

    Returns
    -------
    columns : list of StringArray
        `n_max` columns, each as long as `lines`; null if a line has no such token or is
        refused.
    reasons : StringArray
        Why a line is refused; null for a valid line.
    """
    odd = pc.fill_null(pc.match_substring_regex(lines, ODD.pattern), False)
    odd_rows = np.flatnonzero(odd.to_numpy(zero_copy_only=False))
    parsed, errors = _parse_each(lines.take(pa.array(odd_rows)))
    tokens = _replaced(pc.split_pattern(lines, ","), odd_rows, parsed)
    counts = tokens.value_lengths().to_numpy(zero_copy_only=False)
    has_fields = (counts >= n_min) & (counts <= n_max)
    fields = f"{n_min}" if n_min == n_max else f"{n_min} to {n_max}"
    reasons = {
        row: "no value" if np.isnan(counts[row]) else f"{counts[row]:.0f} fields, not {fields}"
        for row in np.flatnonzero(~has_fields)
    }
    reasons.update({row: error for row, error in zip(odd_rows, errors, strict=True) if error})
    columns = [_column(tokens, n, has_fields & (counts > n)) for n in range(n_max)]
    return columns, sparse_strings(reasons, len(lines))


def plain_columns(
    lines: pa.StringArray, n_tokens: int, kinds: Mapping[int, pa.DataType]
) -> list[pa.Array] | None:
    """Parse plain lines directly into typed columns.

    A plain line has only tokens between commas.  This takes a fraction of the time of
    :func:`split_columns`, which handles all other lines.

    Parameters
    ----------
    lines : StringArray
        The lines.
    n_tokens : int
        Number of tokens in each line.
    kinds : mapping of int to DataType
        The positions of the tokens to read, and their types: string, dictionary of strings, or
        float64.

    Returns
    -------
    list of Array or None
        A column for each of `kinds`, in which an empty token is null.  None if a line may not
        be plain, has another number of tokens, or a token of another type.  (Numbers are those
        of Arrow, including NaN and infinities.)
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
    # More rows than lines: a line contains a line break.
    return [table[name].combine_chunks() for name in names] if len(table) == len(lines) else None


def _empty_or_json(lines: pa.StringArray) -> pa.BooleanArray:
    return pc.or_(pc.equal(lines, ""), pc.starts_with(lines, "["))


def _text(lines: pa.StringArray, header: str) -> bytes:
    """Return the lines as one text after a header line.

    Because of the header, Arrow takes no bytes of the first line for a byte order mark.
    """
    text = pc.binary_join(pa.ListArray.from_arrays([0, len(lines)], lines), "\n")[0]
    return b"".join([header.encode(), b"\n", text.as_buffer()])


def sparse_strings(values: Mapping[Any, str], length: int) -> pa.StringArray:
    """Return a column that is null except in the rows that `values` names."""
    if not values:
        return pa.nulls(length, pa.string())
    rows: list[str | None] = [None] * length
    for row, value in values.items():
        rows[row] = value
    return pa.array(rows, pa.string())


def _parse_each(lines: pa.StringArray) -> tuple[list[list[str] | None], list[str | None]]:
    """Parse lines one by one; return for each its tokens, or else the reason for refusing it."""
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
    """Return `tokens` with the lists of `rows` replaced by `others`."""
    if not len(rows):
        return tokens
    source = np.arange(len(tokens))
    source[rows] = len(tokens) + np.arange(len(rows))
    both = pa.concat_arrays([tokens, pa.array(others, tokens.type)])
    return both.take(pa.array(source))


def _column(tokens: pa.ListArray, n: int, present: NDArray[np.bool_]) -> pa.StringArray:
    """Return the n-th token of each list; null where `present` is False."""
    at = tokens.offsets.to_numpy()[:-1] + n
    return tokens.values.take(pa.array(at, mask=~present))
