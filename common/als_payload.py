"""The payloads of ALS's ``UP`` messages: one vector and the ids that go with it.

``["X", user, [factors], [items]]`` and ``["Y", item, [factors], [users]]`` as Oryx writes them;
the fourth element may be absent.  A fifth on X, which Oryx's readers pass over, lists the
items that a delete has removed from the user's known items.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any, Literal

import numpy as np
import orjson
from numpy.typing import NDArray

from common.messages import MessageError

Kind = Literal["X", "Y"]

_NUMBERS = {float, int}


@dataclass(frozen=True)
class FactorUpdate:
    """A vector that replaces the one before.

    Attributes
    ----------
    kind : {"X", "Y"}
        Of a user or of an item.
    id : str
        The user's or the item's.
    vector : ndarray of float32, shape (k,)
        The new vector.
    related : tuple of str
        New known items of the user; users of the item.
    removed : tuple of str
        Items no longer known of the user.
    """

    kind: Kind
    id: str
    vector: NDArray[np.float32]
    related: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()


@dataclass(frozen=True)
class FactorUpdates:
    """Many updates of one kind, as columns.

    Attributes
    ----------
    kind : {"X", "Y"}
        Of users or of items.
    ids : sequence of str
        One for each row.
    vectors : ndarray, shape (len(ids), k)
        The new vectors; written as float32.
    related, removed : sequence of sequences of str
        As in :class:`FactorUpdate`, for each row; empty where no row has any.
    """

    kind: Kind
    ids: Sequence[str]
    vectors: NDArray[np.floating]
    related: Sequence[Sequence[str]] = ()
    removed: Sequence[Sequence[str]] = ()


def encode_update(
    kind: Kind,
    id: str,
    vector: NDArray[np.floating],
    ids: Sequence[str] = (),
    removed: Sequence[str] = (),
) -> str:
    """Return the payload of one update; factors in the shortest form that float32 reads back."""
    updates = FactorUpdates(kind, [id], np.asarray(vector)[np.newaxis], [ids], [removed])
    return encode_updates(updates)[0]


def encode_updates(updates: FactorUpdates) -> list[str]:
    """Return the payloads of many updates, in order.

    Raises
    ------
    ValueError
        If the columns differ in length, or a factor is not a finite float32.
    """
    if not len(updates.ids):
        return []
    with np.errstate(over="ignore"):
        vectors = np.ascontiguousarray(updates.vectors, np.float32)
    if not np.isfinite(vectors).all():
        message = "a factor is not a finite float32"
        raise ValueError(message)
    factors = orjson.dumps(vectors, option=orjson.OPT_SERIALIZE_NUMPY).decode()[2:-2].split("],[")
    head = f'["{updates.kind}",'
    return [
        f"{head}{_json(id)},[{row}]{_tail(related, removed)}]"
        for id, row, related, removed in zip(
            updates.ids,
            factors,
            updates.related or repeat((), len(factors)),
            updates.removed or repeat((), len(factors)),
            strict=True,
        )
    ]


def decode_update(payload: str) -> FactorUpdate:
    """Read a payload.

    Raises
    ------
    MessageError
        If it is not an update; the text says which element is wrong.
    """
    try:
        found = orjson.loads(payload)
    except orjson.JSONDecodeError as error:
        raise _bad(payload, f"not JSON: {error}") from None
    if not isinstance(found, list) or not 3 <= len(found) <= 5:
        raise _bad(payload, "not an array of three to five elements")
    kind, id, factors, related, removed = [*found, [], []][:5]
    if kind not in ("X", "Y"):
        raise _bad(payload, "the first element is neither X nor Y")
    if not isinstance(id, str) or not id:
        raise _bad(payload, "the second element is not an id")
    return FactorUpdate(
        kind, id, _vector(payload, factors), _ids(payload, related), _ids(payload, removed)
    )


def _json(value: str | Sequence[str]) -> str:
    return orjson.dumps(value).decode()


def _tail(related: Sequence[str], removed: Sequence[str]) -> str:
    if removed:
        return f",{_json(related)},{_json(removed)}"
    return f",{_json(related)}" if related else ""


def _vector(payload: str, factors: Any) -> NDArray[np.float32]:
    if not isinstance(factors, list) or not factors or not set(map(type, factors)) <= _NUMBERS:
        raise _bad(payload, "the third element is not an array of numbers")
    with np.errstate(over="ignore"):
        vector = np.array(factors, np.float64).astype(np.float32)
    if not np.isfinite(vector).all():
        raise _bad(payload, "a factor is not a finite float32")
    return vector


def _ids(payload: str, found: Any) -> tuple[str, ...]:
    if not isinstance(found, list) or not all(isinstance(id, str) for id in found):
        raise _bad(payload, "the last elements are not arrays of ids")
    return tuple(found)


def _bad(payload: str, why: str) -> MessageError:
    return MessageError(f"bad ALS update {payload[:200]!r}: {why}")
