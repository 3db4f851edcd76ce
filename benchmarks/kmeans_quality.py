"""K-means on the Shuttle data: quality against the bare libraries, and the lambda property.

Silhouettes are computed on the same 20,000 readings.  Two models are compared by the adjusted
Rand index of their clusterings of all readings: 1 means equal, 0 chance.

    python -m benchmarks.kmeans_quality [--k 10] [--runs 5]
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score, silhouette_score

from benchmarks.against_bare import vectors
from benchmarks.layers import Layers, serve, session
from benchmarks.report import Figure, run
from common.base import paths
from common.config import Settings
from common.records.columns import parse
from common.runtime.configuration import load
from demo.shuttle import shuttle
from serving_layer.apps.kmeans.routes import Serving

MICRO_BATCH = 100
SAMPLE = 20_000
Matrix = NDArray[np.float64]
Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Bench:
    """The readings and the layers."""

    layers: Layers
    columns: tuple[str, ...]
    lines: list[str]
    given: argparse.Namespace

    def settings(self, engine: str = "sklearn", seed: int = 1) -> Settings:
        """Return the settings of one engine and seed; the sensors are standardised."""
        return load(
            flags={
                "app": "kmeans",
                "input_schema.feature_names": list(self.columns),
                "input_schema.ignored_features": [self.columns[-1]],
                "input_schema.categorical_features": [],
                "kmeans.engine": engine,
                "kmeans.hyperparams.k": self.given.k,
                "kmeans.runs": self.given.runs,
                "kmeans.standardize": True,
                "ml.eval.test_fraction": 0,
                "ml.seed": seed,
            },
            environment={},
        )


def labels(model: Serving, lines: Sequence[str]) -> tuple[Matrix, Labels]:
    """Return the points of lines in the model's space, and the row of each point's cluster."""
    points = model.loaded.transformation.points(parse(pa.array(lines), model.schema)[0])[0]
    return points, model.loaded.clusters.nearest(points)


def bare_labels(engine: str, bench: Bench, points: Matrix) -> Labels:
    """Cluster points by the bare library."""
    given = bench.given
    if engine == "sklearn":
        fitted = KMeans(given.k, max_iter=30, n_init=given.runs, random_state=1).fit(points)
        return np.asarray(fitted.labels_, np.int64)
    from pyspark.ml.clustering import KMeans as SparkKMeans

    frame = vectors(bench.layers.spark, points).cache()
    models = [SparkKMeans(k=given.k, maxIter=30, seed=1 + n).fit(frame) for n in range(given.runs)]
    best = min(models, key=lambda model: model.summary.trainingCost)
    rows = best.transform(frame).select("prediction").toPandas()["prediction"]
    frame.unpersist()
    return rows.to_numpy(np.int64)


def quality(bench: Bench, engine: str) -> Figure:
    """Compare the silhouettes of our model and the bare library's."""
    settings = bench.settings(engine)
    points, ours = labels(serve(settings, bench.layers.train(settings, bench.lines)), bench.lines)
    theirs = bare_labels(engine, bench, points)
    chosen = np.random.default_rng(1).choice(len(points), min(SAMPLE, len(points)), replace=False)
    scores = [
        float(silhouette_score(points[chosen], clustering[chosen])) for clustering in (ours, theirs)
    ]
    what = f"silhouette, {engine}, k = {bench.given.k}"
    return Figure(what, "", scores[:1], f"bare {engine}", scores[1:], "within 1 %")


def agreement(bench: Bench, order: str) -> Iterator[Figure]:
    """Compare the clusterings of batch(90 %) + speed(10 %) with that of batch(all)."""
    cut = round(len(bench.lines) * 0.9)
    reference, models = bench.layers.lambda_models(
        bench.settings(), bench.settings(seed=2), bench.lines
    )
    _, expected = labels(reference, bench.lines)
    for name, model in models.items():
        index = float(adjusted_rand_score(expected, labels(model, bench.lines)[1]))
        ratio = error(model, reference, bench.lines) / error(reference, reference, bench.lines)
        newest = bench.lines[cut:]
        late = error(model, reference, newest) / error(reference, reference, newest)
        notes = {"squared error over batch(all)'s": f"{ratio:.4f}", "of the 10 %": f"{late:.4f}"}
        yield Figure(f"{name}, {order}", "adjusted Rand index", [index], notes=notes)


def error(model: Serving, reference: Serving, lines: Sequence[str]) -> float:
    """Return the sum of squared distances to the centers, in the reference's space."""
    _, rows = labels(model, lines)
    points, _ = labels(reference, lines)
    scale, offset = rescaling(model, reference)
    centers = model.loaded.clusters.centers * scale + offset
    return float(((points - centers[rows]) ** 2).sum())


def rescaling(model: Serving, reference: Serving) -> tuple[Matrix, Matrix]:
    """Return scale and offset from a model's standardised coordinates to the reference's."""
    mine, theirs = (
        np.array(
            [
                [coordinate.low, coordinate.high - coordinate.low]
                for coordinate in either.loaded.transformation.coordinates
            ]
        )
        for either in (model, reference)
    )
    return mine[:, 1] / theirs[:, 1], (mine[:, 0] - theirs[:, 0]) / theirs[:, 1]


def measure(given: argparse.Namespace) -> Iterator[Figure]:
    """Yield quality and lambda property."""
    readings = shuttle(paths.home() / "cache")
    lines = readings.lines[: given.lines]
    with session() as spark, tempfile.TemporaryDirectory() as folder:
        layers = Layers(spark, Path(folder), MICRO_BATCH)
        bench = Bench(layers, readings.columns, lines, given)
        for engine in ("sklearn", "mllib"):
            yield quality(bench, engine)
        yield from agreement(bench, "in the file's order")
        in_time = sorted(bench.lines, key=lambda line: float(line.split(",")[0]))
        yield from agreement(replace(bench, lines=in_time), "in the order of the first sensor")


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description="K-means on the Shuttle readings.")
    parser.add_argument("--k", type=int, default=10)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--lines", type=int, help="readings; all where it is absent")
    run("kmeans_quality", measure, parser, lines=3000, runs=1)


if __name__ == "__main__":
    main()
