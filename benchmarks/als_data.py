"""Seeded factors that look like a trained model's, and a generation made of them.

Items and users gather around 500 common centres, as tastes do, with a spread of their own; the
lengths of items are log-normal (sigma 0.4), as some are popular.  A user's known items lie
around his own centre: they would be recommended to him.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from common.factors import ITEM_FACTORS, USER_FACTORS, write_factors
from common.model_store import Manifest, ModelStore
from common.pmml import AlsModel, write_als_pmml

Array = NDArray[np.float32]

CENTRES = 500
KNOWN_ITEMS = 20


@dataclass(frozen=True)
class Shape:
    """How large a model is; without `spread` the vectors point anywhere, the hardest case."""

    n_items: int
    n_users: int
    n_factors: int
    spread: float | None = 0.7


@dataclass(frozen=True)
class Data:
    """Factors of users and items, and the rows of each user's known items, shape (users, 20)."""

    users: Array
    items: Array
    known: NDArray[np.int32]


def make(shape: Shape, seed: int = 1) -> Data:
    """Make the factors."""
    random = np.random.default_rng(seed)
    centres = random.standard_normal((CENTRES, shape.n_factors), np.float32)
    if shape.spread is None:
        centres[:] = 0
    of_items = np.sort(random.integers(0, CENTRES, shape.n_items))
    of_users = random.integers(0, CENTRES, shape.n_users)
    items = _around(centres[of_items], shape.spread or 1.0, random)
    items *= random.lognormal(0, 0.4, (shape.n_items, 1)).astype(np.float32)
    first, end = (np.searchsorted(of_items, of_users, side) for side in ("left", "right"))
    share = random.random((shape.n_users, KNOWN_ITEMS))
    known = first[:, np.newaxis] + share * (end - first)[:, np.newaxis]
    users = _around(centres[of_users], shape.spread or 1.0, random)
    # Rows in no order, as a batch run leaves them.
    order = random.permutation(shape.n_items)
    shuffled = np.empty_like(items)
    shuffled[order] = items
    return Data(users, shuffled, order[known.astype(np.int64)].astype(np.int32))


def _around(centres: Array, spread: float, random: np.random.Generator) -> Array:
    vectors = random.standard_normal(centres.shape, np.float32)
    vectors *= spread
    vectors += centres
    return vectors


def write_generation(folder: Path, data: Data, generation: int = 1000) -> None:
    """Write a generation as the batch layer does: users ``u0`` …, items ``i0`` …."""
    store = ModelStore(str(folder))
    into = store.new(generation)
    users = [f"u{row}" for row in range(len(data.users))]
    items = [f"i{row}" for row in range(len(data.items))]
    model = AlsModel(
        features=data.items.shape[1], implicit=True, lambda_=0.01, user_ids=users, item_ids=items
    )
    (into / "model.pmml").write_bytes(write_als_pmml(model))
    write_factors(into / ITEM_FACTORS, items, data.items)
    write_factors(into / USER_FACTORS, users, data.users, _lists(data.known))
    created = int(time.time() * 1000)
    manifest = Manifest(generation, "als", "model.pmml", {}, "topic", {0: 0}, created=created)
    store.commit(into, manifest)


def _lists(known: NDArray[np.int32]) -> pa.ListArray:
    # The same item may have been drawn twice.
    rows = [np.unique(row) for row in known]
    offsets = np.cumsum([0, *map(len, rows)])
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), pa.array(np.concatenate(rows)))
