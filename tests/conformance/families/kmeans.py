"""Sample events of k-means: points around four places, each place with its colour."""

from __future__ import annotations

import itertools
import random

import pyarrow as pa

from common.records.columns import parse
from serving_layer.apps.kmeans.routes import Serving

SETTINGS: dict[str, object] = {
    "input_schema.feature_names": ["id", "x", "y", "colour"],
    "input_schema.id_features": ["id"],
    "input_schema.categorical_features": ["colour"],
    "kmeans.hyperparams.k": 4,
    "kmeans.standardize": True,
    "ml.eval.test_fraction": 0,
}
BAD_LINES = ["", "1,2,3", "1,a,2,red", "1,,2,red", "1,1,2,", "1,nan,2,red", '1,2,3,"red']
BAD_UPDATES = [
    "",
    "[]",
    "[0,[1.0],3]",
    "[99,[1.0,2.0,3.0,4.0,5.0,6.0],3]",
    "[0,[1.0,2.0,3.0,4.0,5.0,null],3]",
    "[0,[1.0,2.0,3.0,4.0,5.0,6.0],-3]",
    "[0,[1.0,2.0,3.0,4.0,5.0,6.0],3.5]",
]
QUERIES = ["/assign/7,1,2,red", "/distanceToNearest/7,1,2,red"]
UNKNOWN: list[str] = []  # there are no ids to ask for
WRITES = [("POST", "/add/1,2,3,red"), ("POST", "/add")]
#: Least share of pairs of points that two models must put together, or apart, alike.
AGREEMENT = 0.98

_PLACES = [(0.0, 0.0, "red"), (4.0, 0.0, "green"), (0.0, 4.0, "blue"), (4.0, 4.0, "grey")]


def lines(seed: int = 1) -> list[str]:
    """Points around the places."""
    draw = random.Random(seed)
    found = []
    for number in range(600):
        x, y, colour = draw.choice(_PLACES)
        found.append(f"{number},{draw.gauss(x, 0.8):.4f},{draw.gauss(y, 0.8):.4f},{colour}")
    return found


def state(model: Serving) -> object:
    """Everything that moves."""
    clusters = model.loaded.clusters
    return clusters.ids, clusters.centers.tolist(), clusters.counts.tolist()


def predictions(model: Serving) -> dict[str, float]:
    """Return the cluster of each of some points."""
    clusters, schema = model.loaded.clusters, model.schema
    fresh = lines(seed=9)[:120]
    examples = parse(pa.array(fresh), schema)[0]
    rows = clusters.nearest(model.loaded.transformation.points(examples)[0])
    return {line: float(row) for line, row in zip(fresh, rows.tolist(), strict=True)}


def agreement(expected: dict[str, float], found: dict[str, float]) -> float:
    """Share of pairs of points that are together, or apart, in both: the clusters' names vary."""
    assert expected.keys() == found.keys()
    pairs = list(itertools.combinations(expected, 2))
    alike = [(expected[a] == expected[b]) == (found[a] == found[b]) for a, b in pairs]
    assert len(alike) > 1000
    return sum(alike) / len(alike)
