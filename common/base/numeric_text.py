"""Numbers as clients write them: the same texts are numbers in bulk and one by one."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pyarrow as pa

#: The greatest magnitude that is a number here: trainers compute in single precision too.
MAX_NUMBER = float(np.finfo(np.float32).max)

_NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"
_IS_NUMBER = re.compile(_NUMBER, re.ASCII).match
_SPACE = " \t\n\r\v\f"


def read_numbers(texts: pa.StringArray) -> NDArray[np.float64]:
    """Read numbers, NaN where a text is none.

    Decimal notation with an optional exponent, spaces around it allowed.  Infinities and what
    is beyond `MAX_NUMBER` are none, and neither is null.
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
    found: NDArray[np.float64] = numbers.to_numpy(zero_copy_only=False)
    with np.errstate(invalid="ignore"):
        return np.where(np.abs(found) <= MAX_NUMBER, found, np.nan)


def read_number(text: str) -> float:
    """Read one number as :func:`read_numbers` does."""
    trimmed = text.strip(_SPACE)
    number = float(trimmed) if _IS_NUMBER(trimmed) else np.nan
    return number if abs(number) <= MAX_NUMBER else np.nan
