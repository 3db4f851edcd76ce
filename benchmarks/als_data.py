"""Generates seeded factors that resemble a trained model's, and writes them as a generation.

Items and users are clustered around 500 common centers, as tastes are; the lengths of items are
log-normal (sigma 0.4), because some are popular.  A user's known items are of the user's own
center, so that they would be recommended.  Items are generated in blocks and mapped from a file,
so that they may exceed the memory.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from common.apps.als.pmml import AlsModel, write_als_pmml
from common.factors.files import ITEM_FACTORS, USER_FACTORS, write_factors
from common.store.generations import Manifest, ModelStore

Array = NDArray[np.float32]

CENTERS = 500
KNOWN_ITEMS = 20
_BLOCK = 65_536


@dataclass(frozen=True)
class Shape:
    """Size of a model; without `spread` the vectors are not clustered, the hardest case."""

    n_items: int
    n_users: int
    n_factors: int
    spread: float | None = 0.7


@dataclass(frozen=True)
class Data:
    """Factors of users and items, and the rows of each user's known items, shape (users, 20).

    The items' factors are mapped from an unlinked file.
    """

    users: Array
    items: Array
    known: NDArray[np.int32]


def make(shape: Shape, seed: int = 1) -> Data:
    """Generate the factors."""
    random = np.random.default_rng(seed)
    centers = random.standard_normal((CENTERS, shape.n_factors), np.float32)
    if shape.spread is None:
        centers[:] = 0
    of_items = random.integers(0, CENTERS, shape.n_items, np.int16)
    of_users = random.integers(0, CENTERS, shape.n_users, np.int16)
    items = _mapped((shape.n_items, shape.n_factors))
    for start in range(0, shape.n_items, _BLOCK):
        block = _around(centers[of_items[start : start + _BLOCK]], shape.spread or 1.0, random)
        block *= random.lognormal(0, 0.4, (len(block), 1)).astype(np.float32)
        items[start : start + _BLOCK] = block
    users = _around(centers[of_users], shape.spread or 1.0, random)
    return Data(users, items, _known(of_items, of_users, random))


def _mapped(shape: tuple[int, int]) -> Array:
    with tempfile.TemporaryFile(prefix="items-") as file:
        mapped: Array = np.asarray(np.memmap(file, np.float32, "w+", shape=shape))
    return mapped


def _known(
    of_items: NDArray[np.int16], of_users: NDArray[np.int16], random: np.random.Generator
) -> NDArray[np.int32]:
    """Draw items of each user's center."""
    by_center = np.argsort(of_items, kind="stable").astype(np.int32)
    ordered = of_items[by_center]
    first, end = (np.searchsorted(ordered, of_users, side) for side in ("left", "right"))
    share = random.random((len(of_users), KNOWN_ITEMS))
    known: NDArray[np.int32] = by_center[
        (first[:, np.newaxis] + share * (end - first)[:, np.newaxis]).astype(np.int64)
    ]
    return known


def _around(centers: Array, spread: float, random: np.random.Generator) -> Array:
    vectors = random.standard_normal(centers.shape, np.float32)
    vectors *= spread
    vectors += centers
    return vectors


def write_generation(folder: Path, data: Data, generation: int = 1000) -> None:
    """Write a generation as the batch layer does; ids are ``u0``, … and ``i0``, …."""
    store = ModelStore(str(folder))
    into = store.new(generation)
    users, items = _ids("u", len(data.users)), _ids("i", len(data.items))
    model = AlsModel(
        features=data.items.shape[1],
        implicit=True,
        regularization=0.01,
        user_ids=users.to_pylist(),
        item_ids=items.to_pylist(),
    )
    (into / "model.pmml").write_bytes(write_als_pmml(model))
    write_factors(into / ITEM_FACTORS, items, data.items)
    write_factors(into / USER_FACTORS, users, data.users, _lists(data.known))
    created = int(time.time() * 1000)
    manifest = Manifest(generation, "als", "model.pmml", {}, "topic", {0: 0}, created=created)
    store.commit(into, manifest)


def _ids(kind: str, count: int) -> pa.StringArray:
    numbers = pa.array(np.arange(count)).cast(pa.string())
    return pc.binary_join_element_wise(kind, numbers, "")


def _lists(known: NDArray[np.int32]) -> pa.ListArray:
    # The same item may have been drawn twice.
    ordered = np.sort(known, axis=1)
    first = np.diff(ordered, axis=1, prepend=-1) != 0
    offsets = np.append(0, np.cumsum(first.sum(axis=1)))
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), pa.array(ordered[first]))
