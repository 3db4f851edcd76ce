"""Events of ALS as the serving layer sends them: complete, and quoted where they must be."""

from __future__ import annotations

import math
from collections.abc import Sequence

from common.base.lines import LineError, join_line, parse_line
from serving_layer.http.errors import ApiError
from serving_layer.request.bodies import line_number

#: Strength of an event that names none.
DEFAULT_STRENGTH = "1"
#: Milliseconds by which a sender's clock may be ahead of ours.
MAX_AHEAD = 86_400_000


def completed(lines: Sequence[str], now: int) -> list[str]:
    """Return the events' lines as :func:`with_defaults` does, and none from the future.

    Raises
    ------
    ApiError
        400 ``future_timestamp`` for an event more than a day ahead: it would count as the
        newest of its user and item until that day.
    """
    found = [with_defaults(line, now) for line in lines]
    for at, line in enumerate(found):
        timestamp = line.rpartition(",")[2]
        if _is_after(timestamp, now + MAX_AHEAD):
            message = f"the timestamp {timestamp} is more than a day ahead; it is in milliseconds"
            raise ApiError(400, "future_timestamp", message, line=line_number(at))
    return found


def with_defaults(line: str, now: int) -> str:
    """Return an event's line with strength and timestamp, its strength written as a float.

    Oryx's rule: no strength means 1, an empty one deletes, no timestamp means now.  A line
    that cannot be read is returned as it is: the family's check says why.

    Parameters
    ----------
    line : str
        ``user,item[,strength[,timestamp]]``, as CSV or as a JSON array.
    now : int
        Milliseconds since 1970.
    """
    try:
        tokens = parse_line(line)
    except LineError:
        return line
    if not 2 <= len(tokens) <= 4:
        return line
    user, item, *rest = tokens
    strength = _normalised(rest[0]) if rest else DEFAULT_STRENGTH
    timestamp = rest[1] if len(rest) > 1 else str(now)
    return join_line([user, item, strength, timestamp])


def preference_line(user: str, item: str, strength: str, now: int) -> str:
    """Return the line of one event; an empty strength deletes."""
    return join_line([user, item, strength, str(now)])


def strength_of(lines: Sequence[str]) -> str:
    """Return the strength that a body states: 1 where it is empty.

    Raises
    ------
    ApiError
        400 if it is no finite number, or there is more than one line.
    """
    if not lines:
        return DEFAULT_STRENGTH
    if len(lines) > 1 or _number(lines[0]) is None:
        given = lines[0] if len(lines) == 1 else f"{len(lines)} lines"
        message = f"the body is {given[:100]!r}; it must be one finite number, or empty"
        raise ApiError(400, "bad_strength", message)
    return _normalised(lines[0])


def _is_after(timestamp: str, latest: int) -> bool:
    # What is no number below 2^63 is left to the family's check.
    if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= 19):
        return False
    return latest < int(timestamp) < 1 << 63


def _normalised(strength: str) -> str:
    number = _number(strength)
    return strength if number is None else repr(number)


def _number(text: str) -> float | None:
    """Return a finite number; None for anything else, such as Python's own ``1_000``."""
    if not text.isascii() or "_" in text:
        return None
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
