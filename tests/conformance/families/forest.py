"""Sample events of the forest: whether a fruit is ripe, by size, weight and colour."""

from __future__ import annotations

import random

import numpy as np
import pyarrow as pa

from common.records.columns import parse
from serving_layer.apps.forest.routes import Serving

SETTINGS: dict[str, object] = {
    "input_schema.feature_names": ["id", "size", "weight", "colour", "ripe"],
    "input_schema.id_features": ["id"],
    "input_schema.numeric_features": ["size", "weight"],
    "input_schema.target_feature": "ripe",
    "forest.num_trees": 10,
    "forest.hyperparams.max_depth": 4,
    "ml.eval.test_fraction": 0,
}
BAD_LINES = ["", "1,2,3", "1,a,2,red,yes", "1,1,2,red,", "1,nan,2,red,yes", '1,2,3,"red,yes']
BAD_UPDATES = [
    "",
    "[]",
    '[0,"r",{"0":1}]',
    '[99,"r+",{"0":1}]',
    '[1.5,"r+",{"0":1}]',
    '[0,"r+++++++++",{"0":1}]',
    '[0,"x",{"0":1}]',
    "{}",
    '[0,"r+",1.0,2]',
]
QUERIES = [
    "/predict/7,1.5,2,red,",
    "/classificationDistribution/7,1.5,,red,",
    "/feature/importance",
]
UNKNOWN: list[str] = []  # there are no ids to ask for
WRITES = [("POST", "/train/1,2,3,red,yes"), ("POST", "/train")]
#: Least share of examples that two models must predict alike.
AGREEMENT = 0.9

_COLOURS = {"green": -2.0, "yellow": 0.0, "orange": 1.0, "red": 2.0}


def lines(seed: int = 1) -> list[str]:
    """Fruits; some have no weight."""
    draw = random.Random(seed)
    found = []
    for number in range(600):
        size, weight = draw.gauss(0, 1.5), draw.gauss(2, 1)
        colour = draw.choice(list(_COLOURS))
        ripe = "yes" if size + _COLOURS[colour] + draw.gauss(0, 0.3) > 0 else "no"
        shown = "" if draw.random() < 0.05 else f"{weight:.3f}"
        found.append(f"{number},{size:.3f},{shown},{colour},{ripe}")
    return found


def state(model: Serving) -> object:
    """Everything that moves."""
    found = model.view.model
    leaves = np.flatnonzero(found.trees.is_leaf)
    return found.leaves.totals[leaves].tolist()


def predictions(model: Serving) -> dict[str, float]:
    """Return how probably each of some fruits is ripe."""
    view, fresh = model.view, lines(seed=9)[:200]
    schema = view.model.fields.schema
    rows, _ = view.encoding.encode(parse(pa.array(fresh), schema)[0], schema.predictors)
    probable = view.model.predict(rows)[:, view.model.classes.index("yes")]
    return dict(zip(fresh, probable.tolist(), strict=True))


def agreement(expected: dict[str, float], found: dict[str, float]) -> float:
    """Share of the fruits that both models find ripe, or both do not."""
    assert expected.keys() == found.keys()
    alike = [(expected[line] > 0.5) == (found[line] > 0.5) for line in expected]
    assert len(alike) >= 200
    return sum(alike) / len(alike)
