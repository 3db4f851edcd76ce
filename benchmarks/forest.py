"""Random forest: a generation of each engine against the bare library's fit, at several sizes.

The default of `forest.engine_max_cells` was chosen by these curves: seconds of both engines on
the same events, and the driver's memory.  The bare fits have the same settings and data in their
preferred form, a matrix or a cached DataFrame of vectors.

    python -m benchmarks.forest [--sizes 50000 200000] [--engines sklearn mllib]
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from benchmarks.against_bare import Contest, Fit, at_sizes, parser, spread, vectors
from benchmarks.layers import rows_of
from benchmarks.report import Figure, run
from common.config import Settings
from common.runtime.configuration import load

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

SEED = 1
N_CATEGORIES = 12
Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class Work:
    """Size of data and forest; the first feature is categorical, a line's last field the class."""

    rows: int
    features: int
    trees: int
    depth: int


def examples(work: Work) -> tuple[Matrix, NDArray[np.int64]]:
    """Draw rows and their classes."""
    random = np.random.default_rng(SEED)
    rows = random.normal(size=(work.rows, work.features)).round(4)
    rows[:, 0] = random.integers(0, N_CATEGORIES, work.rows)
    effects = random.normal(size=N_CATEGORIES)[rows[:, 0].astype(int)]
    signal = effects + rows[:, 1] - rows[:, 2] * rows[:, 3] + np.sin(2 * rows[:, 4])
    return rows, (signal + random.normal(size=work.rows) > 0).astype(np.int64)


def lines_of(rows: Matrix, classes: NDArray[np.int64]) -> list[str]:
    """Return examples as lines."""
    return [
        f"c{int(row[0])},{','.join(map(str, row[1:]))},{'ny'[code]}"
        for row, code in zip(rows.tolist(), classes.tolist(), strict=True)
    ]


def configured(work: Work, engine: str) -> Settings:
    """Return the settings of one engine."""
    return load(
        flags={
            "app": "forest",
            "input_schema.num_features": work.features + 1,
            "input_schema.categorical_features": ["0", str(work.features)],
            "input_schema.target_feature": str(work.features),
            "forest.engine": engine,
            "forest.num_trees": work.trees,
            "forest.hyperparams.max_depth": work.depth,
            "ml.eval.test_fraction": 0,
            "ml.seed": SEED,
        },
        environment={},
    )


def bare_sklearn(rows: Matrix, classes: NDArray[np.int64], work: Work) -> None:
    """Fit a matrix by bare scikit-learn."""
    from sklearn.ensemble import RandomForestClassifier

    RandomForestClassifier(
        work.trees,
        criterion="entropy",
        max_depth=work.depth,
        min_samples_leaf=16,
        max_features=math.ceil(math.sqrt(work.features)),
        n_jobs=-1,
        random_state=SEED,
    ).fit(rows, classes)


def bare_mllib(frame: DataFrame, work: Work) -> None:
    """Fit a cached DataFrame of vectors by bare MLlib."""
    from pyspark.ml.classification import RandomForestClassifier

    RandomForestClassifier(
        numTrees=work.trees,
        impurity="entropy",
        maxDepth=work.depth,
        maxBins=100,
        minInstancesPerNode=16,
        minInfoGain=0.001 / math.log(2),
        seed=SEED,
    ).fit(frame)


def contest(spark: SparkSession, engine: str, work: Work) -> Contest:
    """Return the contest of one engine."""
    rows, classes = examples(work)
    fit: Fit
    if engine == "sklearn":
        fit = partial(bare_sklearn, rows, classes, work)
    else:
        fit = partial(bare_mllib, spread(vectors(spark, rows, classes.astype(np.float64))), work)
    what = (
        f"one generation, {engine}, {work.rows:,} x {work.features}, "
        f"{work.trees} trees of depth {work.depth}"
    )
    history = rows_of(lines_of(rows, classes), partitions=4)
    return Contest(what, configured(work, engine), history, fit, "at most 1.5 times")


def measure(given: argparse.Namespace) -> Iterator[Figure]:
    """Compare both engines at each size."""

    def one(spark: SparkSession, engine: str, rows: int) -> Contest:
        return contest(spark, engine, Work(rows, given.features, given.trees, given.depth))

    yield from at_sizes(given, one)


def main() -> None:
    """Measure and report."""
    description = "One generation of a forest and the bare fit."
    given = parser(description, features=20, trees=20, depth=8, rounds=3)
    run("forest", measure, given, sizes=[10_000], trees=5, depth=5, rounds=1)


if __name__ == "__main__":
    main()
