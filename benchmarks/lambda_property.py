"""The lambda property on MovieLens-100k: batch(first 90 %) + speed(last 10 %) against batch(all).

Two models are compared by their preferences: the share of seeded random triples (user, item,
other item) in which both models order the two items equally, among triples whose scores in the
reference differ by more than 0.1.  Unknown users and items have the score 0.  A second measure is
the common share of the top ten unknown items.  Two more rows give the scale: the first 90 % alone,
and a second batch(all) with another seed.

    python -m benchmarks.lambda_property [--features 20]
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.layers import Layers, session
from benchmarks.report import Figure, run
from common.base import paths
from common.factors.matrix import FactorMatrix
from common.runtime.configuration import load
from demo.data import movielens
from serving_layer.apps.als.routes import Serving

TRIPLES = 200_000
TOP = 10
MARGIN = 0.1
MICRO_BATCH = 100


@dataclass(frozen=True)
class Scores:
    """A model's scores of all pairs of a user and an item; 0 if it does not know either."""

    values: NDArray[np.float64]
    known: NDArray[np.bool_]


def scores(model: Serving, users: Sequence[str], items: Sequence[str]) -> Scores:
    """Return a model's scores of all pairs."""
    view = model.view
    vectors = [_rows(side, ids) for side, ids in ((view.users, users), (view.items.matrix, items))]
    known = np.zeros((len(users), len(items)), bool)
    for number, user in enumerate(users):
        row = view.users.row(user)
        if row is not None:
            seen = view.known.of(row)
            columns = {item: column for column, item in enumerate(items)}
            known[number, [columns[view.items.matrix.ids[item_row]] for item_row in seen]] = True
    return Scores(vectors[0] @ vectors[1].T, known)


def _rows(matrix: FactorMatrix, ids: Sequence[str]) -> NDArray[np.float64]:
    rows = matrix.rows(ids)
    vectors = matrix.vectors[np.maximum(rows, 0)].astype(np.float64)
    vectors[rows < 0] = 0
    return vectors


def compare(reference: Scores, other_model: Scores, seed: int = 3) -> dict[str, float]:
    """Return the share of equally ordered triples, and the common share of the top ten."""
    draw = np.random.default_rng(seed)
    n_users, n_items = reference.values.shape
    user = draw.integers(n_users, size=TRIPLES)
    item, other_item = draw.integers(n_items, size=(2, TRIPLES))
    expected = reference.values[user, item] - reference.values[user, other_item]
    actual = other_model.values[user, item] - other_model.values[user, other_item]
    clear = np.abs(expected) > MARGIN
    ordered_equally = np.where(actual == 0, 0.5, np.sign(actual) == np.sign(expected))
    tops = [_top(scores, reference.known) for scores in (reference, other_model)]
    shared = [len(set(a) & set(b)) / TOP for a, b in zip(*tops, strict=True)]
    return {
        "triples": int(clear.sum()),
        "ordered_alike": float(ordered_equally[clear].mean()),
        "same_top_ten": float(np.mean(shared)),
    }


def _top(scores: Scores, known: NDArray[np.bool_]) -> NDArray[np.int64]:
    return np.argsort(-np.where(known, -np.inf, scores.values), axis=1)[:, :TOP]


def measure(given: argparse.Namespace) -> Iterator[Figure]:
    """Yield for each model its agreement with batch(all)."""
    features = given.features
    ratings = movielens(paths.home() / "cache")
    lines = [rating.line() for rating in ratings.rows]
    cut = round(len(lines) * 0.9)
    users = sorted({rating.user for rating in ratings.rows})
    items = sorted({rating.item for rating in ratings.rows})
    flags = {"als.hyperparams.features": features, "ml.eval.test_fraction": 0}
    settings = load(flags=flags, environment={})
    other_seed = load(flags={**flags, "ml.seed": 2}, environment={})
    with session() as spark, tempfile.TemporaryDirectory() as folder:
        layers = Layers(spark, Path(folder), MICRO_BATCH)
        batch_all, models = layers.lambda_models(settings, other_seed, lines)
        reference = scores(batch_all, users, items)
        agreements = {
            name: compare(reference, scores(m, users, items)) for name, m in models.items()
        }
    newcomers = len(set(users) - {rating.user for rating in ratings.rows[:cut]})
    print(f"{features} features; {newcomers} users are of the last 10 % alone")
    for name, shares in agreements.items():
        notes = {"same top ten": round(shares["same_top_ten"], 3), "triples": shares["triples"]}
        yield Figure(f"{name}: ordered alike", "share", [shares["ordered_alike"]], notes=notes)


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description="The lambda property on MovieLens-100k.")
    parser.add_argument("--features", type=int, default=20)
    run("lambda_property", measure, parser, features=5)


if __name__ == "__main__":
    main()
