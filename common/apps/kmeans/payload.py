"""The payload of k-means' ``UP``: ``[cluster id, [center], count]``, which replaces a cluster."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import orjson
from numpy.typing import NDArray

from common.wire.messages import MessageError

_MAX_COUNT = 2**63 - 1


@dataclass(frozen=True)
class ClusterUpdate:
    """One cluster as it is now.

    Attributes
    ----------
    id : int
        Of the cluster.
    center : ndarray of float64, shape (d,)
        In the model's transformed space.
    count : int
        Points that it is the mean of.
    """

    id: int
    center: NDArray[np.float64]
    count: int


def encode_update(update: ClusterUpdate) -> str:
    """Write a payload; the numbers read back exactly."""
    return orjson.dumps([update.id, update.center.tolist(), update.count]).decode()


def decode_update(payload: str) -> ClusterUpdate:
    """Read a payload.

    Raises
    ------
    MessageError
        If it is no such array.
    """
    try:
        id_, center, count = orjson.loads(payload)
        good = (
            _is_integer(id_)
            and isinstance(center, list)
            and all(_is_number(value) for value in center)
            and _is_integer(count)
            and 0 <= count <= _MAX_COUNT
        )
    except (ValueError, TypeError):
        good = False
    if not good:
        message = f"not a k-means update [id, [center], count]: {payload[:100]!r}"
        raise MessageError(message)
    return ClusterUpdate(id_, np.array(center, np.float64), count)


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
