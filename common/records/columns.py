"""Parses many input lines of an :class:`InputSchema` at once, into columns."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from common.api import Read
from common.base.numeric_text import MAX_NUMBER, read_numbers
from common.records.examples import ILLEGAL, MAX_CATEGORY_BYTES, refusal
from common.records.line_columns import plain_columns, sparse_strings, split_columns
from common.records.schema import InputSchema


def parse(lines: pa.StringArray, schema: InputSchema, required: Collection[str] = ()) -> Read:
    """Read many lines.

    Parameters
    ----------
    lines : StringArray
        CSV or JSON arrays, one field for each feature of the schema.
    schema : InputSchema
        The features of the fields.
    required : collection of str
        Active features that every line must have.

    Returns
    -------
    Read
        The examples, see :mod:`common.records.examples`.  A reason is ``code: message`` with the
        code ``missing_value``, ``not_a_number`` or ``bad_category``, or a message alone where it
        is not a line of so many fields.
    """
    lines = lines.cast(pa.string())
    plain = _parse_plain(lines, schema, required)
    if plain is not None:
        return Read(plain, pa.nulls(len(lines), pa.string()))
    n_fields = len(schema.names)
    fields, reasons = split_columns(lines, n_fields, n_fields)
    columns = {}
    for name, field in zip(schema.active, schema.active_fields, strict=True):
        texts = _present(fields[field])
        read = _numbers if name in schema.numeric else _categories
        columns[name], bad = read(texts)
        if name in required:
            bad |= _mask(texts.is_null())
        bad &= _mask(reasons.is_null())
        if bad.any():
            found = _reasons(name, texts, np.flatnonzero(bad), name in schema.numeric)
            reasons = pc.coalesce(reasons, sparse_strings(found, len(lines)))
    return Read(pa.RecordBatch.from_pydict(columns), reasons)


def _parse_plain(
    lines: pa.StringArray, schema: InputSchema, required: Collection[str]
) -> pa.RecordBatch | None:
    """Parse lines by Arrow's CSV reader; None if a line may not be plain or not valid."""
    kinds = {
        field: pa.float64() if name in schema.numeric else pa.string()
        for name, field in zip(schema.active, schema.active_fields, strict=True)
    }
    columns = plain_columns(lines, len(schema.names), kinds)
    if columns is None:
        return None
    examples = pa.RecordBatch.from_arrays(columns, names=list(schema.active))
    if any(examples[name].null_count for name in required):
        return None
    is_valid = (
        _in_range(examples[name])
        if name in schema.numeric
        else not _categories(examples[name])[1].any()
        for name in schema.active
    )
    return examples if all(is_valid) else None


def _in_range(numbers: pa.DoubleArray) -> bool:
    in_range = pc.less_equal(pc.abs(numbers), MAX_NUMBER)
    return bool(pc.all(in_range, min_count=0).as_py())


def _present(field: pa.StringArray) -> pa.StringArray:
    """Return the field with null in place of empty text, which means a missing value."""
    empty = pc.equal(field, "")
    if not pc.any(empty).as_py():
        return field
    return pc.if_else(empty, pa.scalar(None, pa.string()), field)


def _numbers(texts: pa.StringArray) -> tuple[pa.DoubleArray, NDArray[np.bool_]]:
    numbers = read_numbers(texts)
    unread = np.isnan(numbers)
    return pa.array(numbers, mask=unread), unread & _mask(texts.is_valid())


def _categories(texts: pa.StringArray) -> tuple[pa.StringArray, NDArray[np.bool_]]:
    too_long = pc.greater(pc.binary_length(texts), MAX_CATEGORY_BYTES)
    return texts, _mask(pc.or_(too_long, pc.match_substring_regex(texts, ILLEGAL)))


def _reasons(
    name: str, texts: pa.StringArray, rows: NDArray[np.int64], numeric: bool
) -> dict[int, str]:
    """Return the reason why the value is refused, for each of `rows`."""
    values = texts.take(pa.array(rows)).to_pylist()
    return {
        row: refusal(name, text, numeric) for row, text in zip(rows.tolist(), values, strict=True)
    }


def _mask(values: pa.BooleanArray) -> NDArray[np.bool_]:
    """Return a mask, False where a value is null."""
    if values.null_count:
        values = pc.fill_null(values, False)
    mask: NDArray[np.bool_] = values.to_numpy(zero_copy_only=False)
    return mask
