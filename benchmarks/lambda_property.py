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
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from batch_layer.api import BatchContext
from batch_layer.apps.als import Batch
from benchmarks.report import Figure, run
from cli.demo.data import movielens
from common import paths
from common.config import Settings, Spark, load
from common.factors import FactorMatrix
from common.model_store import Generation, Manifest, ModelStore
from common.spark_conf import spark_properties
from common.updates import stored
from serving_layer.apps.als import Serving
from speed_layer.apps.als import Speed

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

SCHEMA = "partition INT, offset BIGINT, timestamp BIGINT, key STRING, value STRING"
TRIPLES = 200_000
TOP = 10
MARGIN = 0.1
MICRO_BATCH = 100
NOW = 900_000_000_000


@dataclass(frozen=True)
class Scores:
    """A model's score of each pair of all users and all items, 0 where it knows one of them not."""

    values: NDArray[np.float64]
    known: NDArray[np.bool_]


def session() -> SparkSession:
    """Start Spark with the layers' own properties."""
    from pyspark.sql import SparkSession

    builder = SparkSession.builder
    table = Spark(master="local[2]", shuffle_partitions=2)
    for key, value in spark_properties(table, "lambda-property", paths.home()).items():
        builder = builder.config(key, value)
    return builder.getOrCreate()


def train(spark: SparkSession, settings: Settings, lines: Sequence[str], name: str) -> Generation:
    """Train a generation on lines."""
    store = ModelStore(name)
    directory = store.new(NOW)
    rows = [(0, n, NOW, None, line) for n, line in enumerate(lines)]
    context = BatchContext(spark, settings, directory, NOW, len(rows))
    built = Batch(settings).run(context, spark.createDataFrame(rows, SCHEMA), None)
    assert built is not None
    return store.commit(directory, Manifest(NOW, "als", built.model_file, {}, "t", {0: len(rows)}))


def serve(settings: Settings, generation: Generation) -> Serving:
    """Load a generation as the serving layer does."""
    model = Serving(settings)
    model.load(stored(generation))
    return model


def follow(settings: Settings, generation: Generation, lines: Sequence[str]) -> Serving:
    """Load a generation and let the speed layer fold in the rest."""
    speed, serving = Speed(settings), serve(settings, generation)
    speed.load(stored(generation))
    for start in range(0, len(lines), MICRO_BATCH):
        part = lines[start : start + MICRO_BATCH]
        events = pa.record_batch(
            {
                "partition": pa.array([0] * len(part), pa.int32()),
                "offset": pa.array(range(start, start + len(part)), pa.int64()),
                "timestamp": pa.array([NOW] * len(part), pa.int64()),
                "value": pa.array(part, pa.string()),
            }
        )
        for update in speed.build_updates(events):
            serving.apply(update)
    return serving


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
    features = 5 if given.quick else given.features
    ratings = movielens(paths.home() / "cache")
    lines = [rating.line() for rating in ratings.rows]
    cut = round(len(lines) * 0.9)
    users = sorted({rating.user for rating in ratings.rows})
    items = sorted({rating.item for rating in ratings.rows})
    flags = {"als.hyperparams.features": features, "ml.eval.test_fraction": 0}
    settings = load(flags=flags, environment={})
    other_seed = load(flags={**flags, "ml.seed": 2}, environment={})
    spark = session()
    with tempfile.TemporaryDirectory() as folder:
        whole = train(spark, settings, lines, str(Path(folder) / "all"))
        again = train(spark, other_seed, lines, str(Path(folder) / "again"))
        first = train(spark, settings, lines[:cut], str(Path(folder) / "first"))
        models = {
            "batch(90 %) + speed(10 %)": follow(settings, first, lines[cut:]),
            "batch(90 %) alone": serve(settings, first),
            "batch(all), another seed": serve(other_seed, again),
        }
        reference = scores(serve(settings, whole), users, items)
        found = {name: compare(reference, scores(m, users, items)) for name, m in models.items()}
    spark.stop()
    newcomers = len(set(users) - {rating.user for rating in ratings.rows[:cut]})
    print(f"{features} features; {newcomers} users are of the last 10 % alone")
    for name, shares in found.items():
        notes = {"same top ten": round(shares["same_top_ten"], 3), "triples": shares["triples"]}
        yield Figure(f"{name}: ordered alike", "share", [shares["ordered_alike"]], notes=notes)


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description="The lambda property on MovieLens-100k.")
    parser.add_argument("--features", type=int, default=20)
    run("lambda_property", measure, parser)


if __name__ == "__main__":
    main()
