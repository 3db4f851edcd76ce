"""The small ALS model with two factors whose answers are known, and an application around it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from flask import Flask
from flask.testing import FlaskClient

from common.apps.als.payload import encode_update
from common.apps.als.pmml import AlsModel, write_als_pmml
from common.broker import Producer
from common.broker.memory import MemoryBroker
from common.config import Settings
from common.factors.files import write_factors
from common.replica.updates import ModelMessage, stored
from common.runtime.configuration import load
from common.store.generations import Generation, Manifest, ModelStore
from serving_layer.apps.als.rescorer import Rescorer, RescorerProvider
from serving_layer.apps.als.routes import Serving
from serving_layer.run.app import create_app
from tests.serving_layer import held

X = [
    [-0.35837504, 0.60391283],
    [-0.7757129, 0.4327127],
    [-0.7757129, -0.4327127],
    [-0.35837504, -0.60391283],
    [-1.1340879, 1.0366255],
    [-1.5514258, -3.5e-16],
    [-1.1340879, -1.0366255],
]
Y = [
    [-0.23176478, 0.504302],
    [-0.53749436, 0.45167503],
    [-0.53749436, -0.45167503],
    [-0.23176478, -0.504302],
    [-0.7692591, 0.9559771],
    [-1.0749887, 1.06e-16],
    [-0.7692591, -0.9559771],
    [-1.3067534, 0.504302],
    [-1.3067534, -0.504302],
]
KNOWN = [
    [0, 4, 7],
    [1, 4, 5, 7, 8],
    [2, 5, 6, 7, 8],
    [3, 6, 8],
    [0, 1, 4, 5, 7, 8],
    [1, 2, 4, 5, 6, 7, 8],
    [2, 3, 5, 6, 7, 8],
]
USERS = [f"U{row}" for row in range(len(X))]
ITEMS = [f"I{row}" for row in range(len(Y))]


def pmml(users: Sequence[str] = USERS, items: Sequence[str] = ITEMS, features: int = 2) -> str:
    model = AlsModel(
        features=features,
        implicit=True,
        regularization=0.001,
        user_ids=users,
        item_ids=items,
        alpha=1.0,
    )
    return write_als_pmml(model).decode()


def settings(**flags: Any) -> Settings:
    dotted = {name.replace("__", "."): value for name, value in flags.items()}
    return load(flags={"app": "als", **dotted}, environment={})


def commit(
    folder: Path, text: str | None = None, known: Sequence[Sequence[int]] = KNOWN
) -> Generation:
    store = ModelStore(str(folder / "store"))
    into = store.new(1000)
    (into / "model.pmml").write_text(text or pmml())
    write_factors(
        into / "user_factors.safetensors",
        USERS,
        np.array(X, np.float32),
        pa.array(known, pa.list_(pa.int32())),
    )
    write_factors(into / "item_factors.safetensors", ITEMS, np.array(Y, np.float32))
    return store.commit(into, Manifest(1000, "als", "model.pmml", {}, "topic", {0: 5}))


def from_files(folder: Path, **flags: Any) -> Serving:
    model = Serving(settings(**flags), clock=lambda: 1000.0)
    model.load(stored(commit(folder)))
    return model


def from_updates(folder: Path, **flags: Any) -> Serving:
    """Load as Oryx does: the ids in the PMML, then all items, then the users."""
    model = Serving(settings(**flags), clock=lambda: 1000.0)
    model.load(ModelMessage(None, pmml()))
    for item, vector in zip(ITEMS, Y, strict=True):
        model.apply(encode_update("Y", item, np.array(vector)))
    for user, vector, rows in zip(USERS, X, KNOWN, strict=True):
        model.apply(encode_update("X", user, np.array(vector), [ITEMS[row] for row in rows]))
    return model


@dataclass
class Served:
    """An application, its model, and what it has sent."""

    app: Flask
    model: Serving
    broker: MemoryBroker

    @property
    def client(self) -> FlaskClient:
        return self.app.test_client()

    def rows(self, path: str) -> list[tuple[str, float]]:
        """Rows of a reply in CSV, which must be those of the reply in JSON."""
        reply = self.client.get(path)
        assert reply.status_code == 200, reply.text
        assert reply.mimetype == "text/csv"
        rows = [
            (id, float(value)) for id, value in (line.split(",") for line in reply.text.split())
        ]
        name = "count" if path.startswith("/most") and "Surprising" not in path else "value"
        assert [(row["id"], row[name]) for row in self.json(path)] == rows
        return rows

    def values(self, path: str) -> list[float]:
        """Numbers of a reply in CSV, which must be those of the reply in JSON."""
        values = [float(line) for line in self.client.get(path).text.split()]
        found = self.json(path)
        assert (found if isinstance(found, list) else [found]) == values
        return values

    def ids(self, path: str) -> list[str]:
        """Ids of a reply in CSV, which must be those of the reply in JSON."""
        ids = self.client.get(path).text.split()
        assert self.json(path) == ids
        return ids

    def json(self, path: str) -> Any:
        reply = self.client.get(path, headers={"Accept": "application/json"})
        assert reply.status_code == 200, reply.text
        return reply.get_json()

    def error(self, path: str) -> tuple[int, str]:
        """Status and code of a reply that is an error."""
        reply = self.client.get(path)
        return reply.status_code, reply.get_json()["error"]["code"]

    def sent(self) -> list[tuple[str, str]]:
        """Keys and values on the input topic."""
        return held.sent(self.broker)


def serve(
    model: Serving, through: Callable[[Producer], Any] = lambda made: made, **flags: Any
) -> Served:
    """Make an application; `through` makes its producer of that of the topic in memory."""
    found = settings(**flags)
    broker = held.input_topic()
    producer = None if found.serving.api.read_only else through(broker.producer())
    return Served(create_app(found, held.Held(model), producer), model, broker)


class EvenOut(Rescorer):
    """Filters ids that end in an even digit, and doubles scores."""

    def is_filtered(self, id: str) -> bool:
        return int(id[-1]) % 2 == 0

    def rescore(self, id: str, score: float) -> float:
        return score * 2


class EvenOutProvider(RescorerProvider):
    """Where there are parameters."""

    def recommend(self, user_ids: Sequence[str], args: Sequence[str]) -> Rescorer | None:
        return EvenOut() if args else None

    def recommend_to_anonymous(
        self, item_ids: Sequence[str], args: Sequence[str]
    ) -> Rescorer | None:
        return EvenOut() if args else None

    def most_similar_items(self, args: Sequence[str]) -> Rescorer | None:
        return EvenOut() if args else None

    def most_popular_items(self, args: Sequence[str]) -> Rescorer | None:
        return EvenOut() if args else None

    def most_active_users(self, args: Sequence[str]) -> Rescorer | None:
        return EvenOut() if args else None


class OddOut(Rescorer):
    """Filters ids that end in an odd digit, without touching scores."""

    def is_filtered(self, id: str) -> bool:
        return int(id[-1]) % 2 == 1


class OddOutProvider(RescorerProvider):
    """Always."""

    def recommend(self, user_ids: Sequence[str], args: Sequence[str]) -> Rescorer | None:
        return OddOut()


NAME = f"{sys.modules[__name__].__name__}.EvenOutProvider"
Loader = Callable[..., Serving]
