"""Many input lines at once, as columns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyarrow import csv

from common.base.lines import ODD, LineError, parse_line

#: What no plain line holds; a line break shows otherwise.
_MARKS = (b'"', b"\\", b"\r")
_PLAIN_LINES = csv.ParseOptions(
    quote_char=False, double_quote=False, escape_char=False, ignore_empty_lines=False
)


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
    odd = pc.fill_null(pc.match_substring_regex(lines, ODD.pattern), False)
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
    """Return lines as one text below a header.

    With a header, nothing at the first line's start is taken for a mark of encoding.
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
