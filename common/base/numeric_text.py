"""Reading numbers from text, by the same rules for a column and for a single value."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pyarrow as pa

#: Largest magnitude accepted: some trainers compute in single precision.
MAX_NUMBER = float(np.finfo(np.float32).max)

_NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"
_IS_NUMBER = re.compile(_NUMBER, re.ASCII).match
_SPACE = " \t\n\r\v\f"


def read_numbers(texts: pa.StringArray) -> NDArray[np.float64]:
    """Read a column of numbers; NaN for a text that is not a number.

    A number is in decimal notation with an optional exponent; spaces around it are allowed.
    Infinities, magnitudes beyond `MAX_NUMBER` and nulls give NaN.
    """
    # Arrow takes 34 MB, and reading a single number does without.
    import pyarrow as pa
    import pyarrow.compute as pc

    try:
        numbers = texts.cast(pa.float64())
    except pa.ArrowInvalid:
        trimmed = pc.ascii_trim_whitespace(texts)
        is_number = pc.match_substring_regex(trimmed, _NUMBER)
        numbers = pc.if_else(is_number, trimmed, None).cast(pa.float64())
    values: NDArray[np.float64] = numbers.to_numpy(zero_copy_only=False)
    with np.errstate(invalid="ignore"):
        return np.where(np.abs(values) <= MAX_NUMBER, values, np.nan)


def read_number(text: str) -> float:
    """Read one number as :func:`read_numbers` does."""
    trimmed = text.strip(_SPACE)
    number = float(trimmed) if _IS_NUMBER(trimmed) else np.nan
    return number if abs(number) <= MAX_NUMBER else np.nan
