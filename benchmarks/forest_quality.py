"""Random forest on the flights data: quality against the bare libraries, and lambda property.

A late departure (classification) and the arrival's delay (regression) are learned from a random
nine tenths of the flights and predicted for the rest.  The bare libraries have the same settings.
Categories are one column each for scikit-learn and an index for MLlib; missing values are
replaced by medians for both.  For the lambda property the flights are shuffled, and the speed
layer processes the last tenth.

    python -m benchmarks.forest_quality [--rows 100000]
"""

from __future__ import annotations

import argparse
import math
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from benchmarks.against_bare import ENGINES, vectors
from benchmarks.layers import Layers, serve, session
from benchmarks.report import Figure, run
from common.base import paths
from common.config import Settings
from common.records.columns import parse
from common.records.encoding import Encoding
from common.records.schema import InputSchema
from common.runtime.configuration import load
from demo.flights import CATEGORICAL, Flights, flights
from serving_layer.apps.forest.routes import Serving

MICRO_BATCH = 1000
SEED = 1
#: Bare scikit-learn tries every value as a split, bare MLlib bins.
CANDIDATES = {"sklearn": 1024, "mllib": 128}
Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class Bench:
    """One prediction task on the flights, and the layers."""

    layers: Layers
    data: Flights
    train: list[str]
    test: list[str]
    given: argparse.Namespace

    def settings(self, engine: str, seed: int = SEED) -> Settings:
        """Return the settings of one engine and seed."""
        categorical = [*CATEGORICAL, *([] if self.data.regression else [self.data.target])]
        return load(
            flags={
                "app": "forest",
                "input_schema.feature_names": [*self.data.predictors, self.data.target],
                "input_schema.categorical_features": categorical,
                "input_schema.target_feature": self.data.target,
                "forest.engine": engine,
                "forest.num_trees": self.given.trees,
                "forest.hyperparams.max_depth": self.given.depth,
                "forest.hyperparams.max_split_candidates": CANDIDATES[engine],
                "forest.hyperparams.min_info_gain_nats": 0,
                "ml.eval.test_fraction": 0,
                "ml.seed": seed,
            },
            environment={},
        )

    @cached_property
    def schema(self) -> InputSchema:
        """The features of a line's fields."""
        return InputSchema.from_settings(self.settings("sklearn").input_schema)

    @cached_property
    def matrices(self) -> tuple[Matrix, Matrix, Matrix, Matrix]:
        """Encoded predictors and targets of both parts, with medians for missing values."""
        both = [parse(pa.array(lines), self.schema)[0] for lines in (self.train, self.test)]
        encoding = Encoding.learnt(both, self.schema)
        rows = [encoding.encode(part, self.schema.predictors)[0] for part in both]
        targets = [encoding.encode(part, [self.data.target])[0][:, 0] for part in both]
        medians = np.nanmedian(rows[0], axis=0)
        filled = [np.where(np.isnan(part), medians, part) for part in rows]
        return filled[0], targets[0], filled[1], targets[1]

    def score(self, values: Matrix) -> float:
        """Return the area under the ROC curve, or the root mean squared error."""
        actual = self.matrices[3]
        if self.data.regression:
            return float(np.sqrt(np.mean((values - actual) ** 2)))
        return float(roc_auc_score(actual, values))


def asked(model: Serving, lines: Sequence[str]) -> Matrix:
    """Return the predicted numbers, or the probabilities of the second class."""
    view = model.view
    schema = view.model.fields.schema
    rows, _ = view.encoding.encode(parse(pa.array(lines), schema)[0], schema.predictors)
    predicted: Matrix = view.model.predict(rows)[:, -1]
    return predicted


def bare_sklearn(bench: Bench, seed: int) -> Matrix:
    """Return the predictions of bare scikit-learn, with one column for each category."""
    from sklearn.compose import make_column_transformer
    from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
    from sklearn.preprocessing import OneHotEncoder

    rows, targets, test_rows, _ = bench.matrices
    at = [bench.schema.predictors.index(name) for name in CATEGORICAL]
    columns = make_column_transformer(
        (OneHotEncoder(sparse_output=False), at), remainder="passthrough"
    ).fit(np.concatenate([rows, test_rows]))
    settings: dict[str, Any] = {
        "n_estimators": bench.given.trees,
        "max_depth": bench.given.depth,
        "min_samples_leaf": 16,
        "n_jobs": -1,
        "random_state": seed,
    }
    shape = columns.transform(rows)
    if bench.data.regression:
        forest = RandomForestRegressor(max_features=1 / 3, **settings).fit(shape, targets)
        return np.asarray(forest.predict(columns.transform(test_rows)))
    forest = RandomForestClassifier(criterion="entropy", **settings).fit(shape, targets)
    return np.asarray(forest.predict_proba(columns.transform(test_rows))[:, 1])


def bare_mllib(bench: Bench, seed: int) -> Matrix:
    """Return the predictions of bare MLlib, with categories by index."""
    from pyspark.ml.classification import RandomForestClassifier
    from pyspark.ml.feature import VectorIndexer
    from pyspark.sql import functions as F

    rows, targets, test_rows, _ = bench.matrices
    frames = []
    for matrix, label in ((rows, targets), (test_rows, np.zeros(len(test_rows)))):
        frame = vectors(bench.layers.spark, matrix, label)
        frames.append(frame.withColumnRenamed("features", "raw"))
    indexer: Any = VectorIndexer(
        inputCol="raw", outputCol="features", maxCategories=128, handleInvalid="keep"
    )
    indexed = indexer.fit(frames[0].union(frames[1]))
    settings: dict[str, Any] = {
        "numTrees": bench.given.trees,
        "maxDepth": bench.given.depth,
        "maxBins": 129,
        "minInstancesPerNode": 16,
        "seed": seed,
    }
    train = indexed.transform(frames[0]).cache()
    if bench.data.regression:
        from pyspark.ml.regression import RandomForestRegressor

        predictions = (
            RandomForestRegressor(**settings).fit(train).transform(indexed.transform(frames[1]))
        )
        column: Any = F.col("prediction")
    else:
        from pyspark.ml.functions import vector_to_array

        library = RandomForestClassifier(impurity="entropy", **settings)
        predictions = library.fit(train).transform(indexed.transform(frames[1]))
        column = vector_to_array(F.col("probability"))[1]
    values = predictions.select(column.alias("value")).toArrow()["value"].to_numpy()
    train.unpersist()
    return np.asarray(values)


def quality(bench: Bench, engine: str) -> Figure:
    """Compare the scores of our models and the bare library's, for each seed."""
    bare = bare_sklearn if engine == "sklearn" else bare_mllib
    ours, theirs = [], []
    for seed in range(SEED, SEED + bench.given.seeds):
        settings = bench.settings(engine, seed)
        model = serve(settings, bench.layers.train(settings, bench.train))
        ours.append(bench.score(asked(model, bench.test)))
        theirs.append(bench.score(bare(bench, seed)))
    what = "RMSE of the arrival's delay" if bench.data.regression else "AUC of a late departure"
    unit = "min" if bench.data.regression else ""
    return Figure(f"{what}, {engine}", unit, ours, f"bare {engine}", theirs, "within 1 %")


def agreement(bench: Bench) -> Iterator[Figure]:
    """Compare the predictions of batch(90 %) + speed(10 %) with those of batch(all)."""
    batch_all, models = bench.layers.lambda_models(
        bench.settings("sklearn"), bench.settings("sklearn", seed=2), bench.train
    )
    reference = asked(batch_all, bench.test)
    unit = "min" if bench.data.regression else ""
    for name, model in models.items():
        predicted = asked(model, bench.test)
        difference = float(np.sqrt(np.mean((predicted - reference) ** 2)))
        score = "RMSE" if bench.data.regression else "AUC"
        notes = {f"its own {score}": f"{bench.score(predicted):.4f}"}
        notes["of batch(all)"] = f"{bench.score(reference):.4f}"
        what = f"{name}: root mean squared difference of predictions from batch(all)"
        yield Figure(what, unit, [difference], notes=notes)


def measure(given: argparse.Namespace) -> Iterator[Figure]:
    """Yield quality and lambda property for both tasks."""
    with session() as spark, tempfile.TemporaryDirectory() as folder:
        layers = Layers(spark, Path(folder), MICRO_BATCH)
        for regression in (False, True):
            data = flights(paths.home() / "cache", regression)
            lines = np.array([*data.past, *data.live], object)
            order = np.random.default_rng(SEED).permutation(len(lines))
            chosen = lines[order[: given.rows]].tolist()
            cut = math.ceil(len(chosen) * 0.9)
            bench = Bench(layers, data, chosen[:cut], chosen[cut:], given)
            for engine in given.engines:
                yield quality(bench, engine)
            yield from agreement(bench)


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description="The forest on the flights.")
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=ENGINES)
    for name, default in (("rows", 100_000), ("trees", 20), ("depth", 10), ("seeds", 3)):
        parser.add_argument(f"--{name}", type=int, default=default)
    run("forest_quality", measure, parser, rows=2000, seeds=1, trees=5, depth=3)


if __name__ == "__main__":
    main()
