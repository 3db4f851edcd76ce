"""The lambda property on MovieLens-100k: batch(first 90 %) + speed(last 10 %) against batch(all).

Two models are compared by what they prefer: of triples (user, item, other item), drawn with a
seed, the share in which both models order the two items alike, where the reference tells them
apart by more than 0.1.  Users and items that a model does not know score 0.  Beside it the share
of the top ten unknown items that are the same.  Two rows give the scale: what the first 90 %
alone reach, and a second batch(all) that differs in its seed only.

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
    """A model's score of each pair of all users and all items, 0 where it knows one of them not."""

    values: NDArray[np.float64]
    known: NDArray[np.bool_]


def scores(model: Serving, users: Sequence[str], items: Sequence[str]) -> Scores:
    """Return what a model says of all pairs."""
    view = model.view
    vectors = [_rows(side, ids) for side, ids in ((view.users, users), (view.items.matrix, items))]
    known = np.zeros((len(users), len(items)), bool)
    for number, user in enumerate(users):
        row = view.users.row(user)
        if row is not None:
            seen = view.known.of(row)
            places = {item: place for place, item in enumerate(items)}
            known[number, [places[view.items.matrix.ids[at]] for at in seen]] = True
    return Scores(vectors[0] @ vectors[1].T, known)


def _rows(matrix: FactorMatrix, ids: Sequence[str]) -> NDArray[np.float64]:
    rows = matrix.rows(ids)
    found = matrix.vectors[np.maximum(rows, 0)].astype(np.float64)
    found[rows < 0] = 0
    return found


def compare(reference: Scores, found: Scores, seed: int = 3) -> dict[str, float]:
    """Return the share of triples ordered alike, and of the top ten that is the same."""
    draw = np.random.default_rng(seed)
    n_users, n_items = reference.values.shape
    user = draw.integers(n_users, size=TRIPLES)
    one, other = draw.integers(n_items, size=(2, TRIPLES))
    wanted = reference.values[user, one] - reference.values[user, other]
    got = found.values[user, one] - found.values[user, other]
    clear = np.abs(wanted) > MARGIN
    alike = np.where(got == 0, 0.5, np.sign(got) == np.sign(wanted))
    tops = [_top(scores, reference.known) for scores in (reference, found)]
    shared = [len(set(a) & set(b)) / TOP for a, b in zip(*tops, strict=True)]
    return {
        "triples": int(clear.sum()),
        "ordered_alike": float(alike[clear].mean()),
        "same_top_ten": float(np.mean(shared)),
    }


def _top(scores: Scores, known: NDArray[np.bool_]) -> NDArray[np.int64]:
    return np.argsort(-np.where(known, -np.inf, scores.values), axis=1)[:, :TOP]


def measure(given: argparse.Namespace) -> Iterator[Figure]:
    """Run the whole; yields for each model how far it agrees with batch(all)."""
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
        whole, models = layers.lambda_models(settings, other_seed, lines)
        reference = scores(whole, users, items)
        found = {name: compare(reference, scores(m, users, items)) for name, m in models.items()}
    newcomers = len(set(users) - {rating.user for rating in ratings.rows[:cut]})
    print(f"{features} features; {newcomers} users are of the last 10 % alone")
    for name, shares in found.items():
        notes = {"same top ten": round(shares["same_top_ten"], 3), "triples": shares["triples"]}
        yield Figure(f"{name}: ordered alike", "share", [shares["ordered_alike"]], notes=notes)


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description="The lambda property on MovieLens-100k.")
    parser.add_argument("--features", type=int, default=20)
    run("lambda_property", measure, parser, features=5)


if __name__ == "__main__":
    main()
