"""K-means: a generation of each engine against the bare library's fit, at several sizes.

The default of `kmeans.engine_max_cells` was chosen by these curves: seconds of both engines on
the same events, and the driver's memory per cell.

    python -m benchmarks.kmeans [--sizes 100000 1000000] [--engines sklearn mllib]
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans

from benchmarks.against_bare import Contest, Fit, at_sizes, parser, spread, vectors
from benchmarks.layers import rows_of
from benchmarks.report import Figure, run
from common.config import Settings
from common.runtime.configuration import load

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

SEED = 1
Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class Work:
    """Size of data and model."""

    rows: int
    features: int
    k: int
    iterations: int


def points(work: Work) -> Matrix:
    """Draw points around as many centers as there are clusters to find."""
    random = np.random.default_rng(SEED)
    centers = random.normal(scale=3, size=(work.k, work.features))
    noise = random.normal(size=(work.rows, work.features))
    drawn: Matrix = (centers[random.integers(work.k, size=work.rows)] + noise).round(4)
    return drawn


def configured(work: Work, engine: str) -> Settings:
    """Return the settings of one engine."""
    return load(
        flags={
            "app": "kmeans",
            "input_schema.num_features": work.features,
            "input_schema.categorical_features": [],
            "kmeans.engine": engine,
            "kmeans.hyperparams.k": work.k,
            "kmeans.iterations": work.iterations,
            "ml.eval.test_fraction": 0,
            "ml.seed": SEED,
        },
        environment={},
    )


def bare_sklearn(drawn: Matrix, settings: Settings) -> None:
    """Fit a matrix by bare scikit-learn."""
    kmeans = settings.section("kmeans")
    KMeans(
        kmeans.hyperparams.k, max_iter=kmeans.iterations, n_init=1, random_state=settings.ml.seed
    ).fit(drawn)


def bare_mllib(frame: DataFrame, settings: Settings) -> None:
    """Fit a cached DataFrame of vectors by bare MLlib."""
    from pyspark.ml.clustering import KMeans as SparkKMeans

    kmeans = settings.section("kmeans")
    SparkKMeans(k=kmeans.hyperparams.k, maxIter=kmeans.iterations, seed=settings.ml.seed).fit(frame)


def contest(spark: SparkSession, engine: str, work: Work) -> Contest:
    """Return the contest of one engine."""
    settings, drawn = configured(work, engine), points(work)
    fit: Fit
    if engine == "sklearn":
        fit = partial(bare_sklearn, drawn, settings)
    else:
        fit = partial(bare_mllib, spread(vectors(spark, drawn)), settings)
    what = f"one generation, {engine}, {work.rows:,} x {work.features}, k = {work.k}"
    lines = [",".join(map(str, row)) for row in drawn.tolist()]
    return Contest(what, settings, rows_of(lines, partitions=4), fit, "at most 1.5 times")


def measure(given: argparse.Namespace) -> Iterator[Figure]:
    """Compare both engines at each size."""

    def one(spark: SparkSession, engine: str, rows: int) -> Contest:
        return contest(spark, engine, Work(rows, given.features, given.k, given.iterations))

    yield from at_sizes(given, one)


def main() -> None:
    """Measure and report."""
    description = "One generation of k-means against the bare fit."
    given = parser(description, features=20, k=50, iterations=30, rounds=3)
    run("kmeans", measure, given, sizes=[10_000], k=10, iterations=3, rounds=1)


if __name__ == "__main__":
    main()
