"""The payloads of ALS's ``UP`` messages: one vector and the ids that go with it.

``["X", user, [factors], [items]]`` and ``["Y", item, [factors], [users]]`` as Oryx writes them;
the fourth element may be absent.  A fifth on X, which Oryx's readers pass over, lists the
items that a delete has removed from the user's known items.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any, Literal, NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray

from common.wire.messages import MessageError

Kind = Literal["X", "Y"]

_NUMBERS = {float, int}
#: Kind, id, factors, and the two lists of ids.
_Fields = tuple[Kind, str, list[float], tuple[str, ...], tuple[str, ...]]


class FactorUpdate(NamedTuple):
    """A vector that replaces the one before; a tuple, as thousands a second are made.

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
    kind, id, factors, related, removed = _fields(payload)
    vectors, finite = _vectors([factors], len(factors))
    if not finite[0]:
        raise _not_finite(payload)
    return FactorUpdate(kind, id, vectors[0], related, removed)


def decode_updates(
    payloads: Sequence[str], n_factors: int
) -> tuple[list[FactorUpdate], list[MessageError]]:
    """Read many payloads at once.

    Parameters
    ----------
    payloads : sequence of str
        What :func:`decode_update` takes.
    n_factors : int
        How many factors a vector has to have.

    Returns
    -------
    (list of FactorUpdate, list of MessageError)
        Those that can be used, in order, and what is wrong with the others.
    """
    read: list[tuple[str, _Fields]] = []
    refused: list[MessageError] = []
    for payload in payloads:
        try:
            fields = _fields(payload)
            _check_length(fields, n_factors)
            read.append((payload, fields))
        except MessageError as error:
            refused.append(error)
    vectors, finite = _vectors([fields[2] for _, fields in read], n_factors)
    refused += [_not_finite(read[at][0]) for at in np.flatnonzero(~finite)]
    return [
        FactorUpdate(kind, id, vector, related, removed)
        for (_, (kind, id, _, related, removed)), vector, usable in zip(
            read, vectors, finite.tolist(), strict=True
        )
        if usable
    ], refused


def _fields(payload: str) -> _Fields:
    try:
        found = orjson.loads(payload)
    except orjson.JSONDecodeError as error:
        raise _bad(payload, f"not JSON: {error}") from None
    if not isinstance(found, list) or not 3 <= len(found) <= 5:
        raise _bad(payload, "not an array of three to five elements")
    kind, id, factors = found[:3]
    if kind not in ("X", "Y"):
        raise _bad(payload, "the first element is neither X nor Y")
    if not isinstance(id, str) or not id:
        raise _bad(payload, "the second element is not an id")
    if not isinstance(factors, list) or not factors or not set(map(type, factors)) <= _NUMBERS:
        raise _bad(payload, "the third element is not an array of numbers")
    related = _ids(payload, found[3]) if len(found) > 3 else ()
    removed = _ids(payload, found[4]) if len(found) > 4 else ()
    return kind, id, factors, related, removed


def _check_length(fields: _Fields, n_factors: int) -> None:
    kind, id, factors, _, _ = fields
    if len(factors) != n_factors:
        message = (
            f"ALS update of {kind} {id!r} has {len(factors)} factors, the model has {n_factors}"
        )
        raise MessageError(message)


def _vectors(
    factors: Sequence[Sequence[float]], n_factors: int
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return vectors of one length, shape (n, n_factors), and which are finite as float32."""
    with np.errstate(over="ignore"):
        vectors = np.array(factors, np.float64).reshape(-1, n_factors).astype(np.float32)
    return vectors, np.asarray(np.isfinite(vectors).all(axis=1))


def _json(value: str | Sequence[str]) -> str:
    return orjson.dumps(value).decode()


def _tail(related: Sequence[str], removed: Sequence[str]) -> str:
    if removed:
        return f",{_json(related)},{_json(removed)}"
    return f",{_json(related)}" if related else ""


def _ids(payload: str, found: Any) -> tuple[str, ...]:
    if not isinstance(found, list) or not all(isinstance(id, str) for id in found):
        raise _bad(payload, "the last elements are not arrays of ids")
    return tuple(found)


def _bad(payload: str, why: str) -> MessageError:
    return MessageError(f"bad ALS update {payload[:200]!r}: {why}")


def _not_finite(payload: str) -> MessageError:
    return _bad(payload, "a factor is not a finite float32")
