"""Events of ALS as the serving layer sends them: complete, and quoted where they must be."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from common.base.lines import join_line
from serving_layer.http.errors import ApiError
from serving_layer.request.bodies import line_number

if TYPE_CHECKING:
    import pyarrow as pa

#: Strength of an event that names none.
DEFAULT_STRENGTH = "1"
#: Milliseconds by which a sender's clock may be ahead of ours.
MAX_AHEAD = 86_400_000


def completed(columns: pa.RecordBatch, now: int) -> list[str]:
    """Return the lines of events with what their senders left out.

    Oryx's rule: no strength means 1, an empty one deletes, no timestamp means now.

    Parameters
    ----------
    columns : RecordBatch
        Of good lines; see :func:`common.apps.als.events.read`.
    now : int
        Milliseconds since 1970.

    Raises
    ------
    ApiError
        400 ``future_timestamp`` for an event more than a day ahead: it would count as the
        newest of its user and item until that day.
    """
    # A process that takes no events does not load Arrow.
    import pyarrow.compute as pc

    timestamps, latest = columns["timestamp"], now + MAX_AHEAD
    if (pc.max(timestamps).as_py() or 0) > latest:
        at = pc.index(pc.greater(timestamps, latest), True).as_py()
        timestamp = timestamps[at]
        message = f"the timestamp {timestamp} is more than a day ahead; it is in milliseconds"
        raise ApiError(400, "future_timestamp", message, line=line_number(at))
    users, items = (columns[name].dictionary_decode().to_pylist() for name in ("user", "item"))
    strengths = [_text(strength) for strength in columns["strength"].to_pylist()]
    times = pc.fill_null(columns["timestamp_text"], str(now)).to_pylist()
    return [join_line(event) for event in zip(users, items, strengths, times, strict=True)]


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
    number = _number(lines[0]) if len(lines) == 1 else None
    if number is None:
        given = lines[0] if len(lines) == 1 else f"{len(lines)} lines"
        message = f"the body is {given[:100]!r}; it must be one finite number, or empty"
        raise ApiError(400, "bad_strength", message)
    return repr(number)


def _text(strength: float | None) -> str:
    """Return a strength as Oryx writes it: as a float, but 1 where the sender named none."""
    if strength is None:
        return DEFAULT_STRENGTH
    return "" if math.isnan(strength) else repr(strength)


def _number(text: str) -> float | None:
    """Return a finite number; None for anything else, such as Python's own ``1_000``."""
    if not text.isascii() or "_" in text:
        return None
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
