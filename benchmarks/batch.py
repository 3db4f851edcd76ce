"""Overhead of the batch layer over the training library, for ALS.

ALS is trained on the same synthetic ratings by the bare library, on data in its preferred form,
and by our ``Batch``, from rows of the history to all files of a generation.

    python -m benchmarks.batch [--engine mllib]
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from implicit.cpu.als import AlternatingLeastSquares
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from batch_layer.apps.als.data import Pairs, Preparation
from batch_layer.apps.als.local import LocalEvents, matrix
from benchmarks.against_bare import Contest, Fit, seconds
from benchmarks.layers import NOW, rows_of, session
from benchmarks.report import Figure, run
from common.config import Settings
from common.runtime.configuration import load

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

PREPARATION = Preparation(
    implicit=True,
    log_strength=False,
    epsilon=1e-5,
    decay_factor=1.0,
    zero_threshold=0.0,
    now=NOW,
)
#: Rows in a record batch, as Arrow reads files.
_BATCH = 131_072


@dataclass(frozen=True)
class Work:
    """Size of the training data and of the model."""

    ratings: int
    users: int
    items: int
    features: int
    iterations: int
    seed: int


def history(work: Work) -> pa.Table:
    """Return history rows with users and items drawn from power laws."""
    random = np.random.default_rng(work.seed)
    users = _power_law(random, work.users, work.ratings)
    items = _power_law(random, work.items, work.ratings)
    times = np.sort(random.integers(NOW - 86_400_000, NOW, work.ratings))
    lines = [
        f"u{u},i{i},1,{t}"
        for u, i, t in zip(users.tolist(), items.tolist(), times.tolist(), strict=True)
    ]
    return rows_of(lines, times, partitions=4)


def _power_law(random: np.random.Generator, size: int, count: int) -> NDArray[np.int64]:
    weights = np.cumsum(np.arange(1, size + 1) ** -0.8)
    rows: NDArray[np.int64] = np.searchsorted(weights, random.random(count) * weights[-1])
    return rows


def bare_implicit(pairs: Pairs, settings: Settings) -> None:
    """Fit a matrix of confidences by the bare library's exact solver."""
    als = settings.section("als")
    with threadpool_limits(1, "blas"):
        AlternatingLeastSquares(
            factors=als.hyperparams.features,
            iterations=als.iterations,
            use_cg=False,
            random_state=settings.ml.seed,
        ).fit(matrix(pairs) * 2.0, show_progress=False)


def bare_mllib(ratings: DataFrame, settings: Settings) -> None:
    """Fit a cached DataFrame of numbers by bare MLlib, with its default number of blocks."""
    from pyspark.ml.recommendation import ALS

    als = settings.section("als")
    model = ALS(
        rank=als.hyperparams.features,
        maxIter=als.iterations,
        regParam=als.hyperparams.regularization,
        implicitPrefs=True,
        userCol="user",
        itemCol="item",
        ratingCol="value",
        seed=settings.ml.seed,
    ).fit(ratings)
    model.userFactors.count()
    model.itemFactors.count()


def contest(spark: SparkSession, engine: str, work: Work) -> Contest:
    """Return the contest of one engine, with notes on our steps before the fit."""
    settings = load(
        flags={
            "als.engine": "mllib" if engine == "mllib" else "auto",
            "als.hyperparams.features": work.features,
            "als.iterations": work.iterations,
            "ml.eval.test_fraction": 0,
            "ml.seed": work.seed,
        }
    )
    rows = history(work)
    batches = rows.to_batches(_BATCH)
    events = LocalEvents.of(batches)
    pairs = events.pairs(PREPARATION)
    fit: Fit
    if engine == "implicit":
        fit = partial(bare_implicit, pairs, settings)
    else:
        fit = partial(bare_mllib, in_numbers(spark, pairs), settings)
    what = f"one generation, {engine}, {work.ratings:,} ratings, {work.features} features"
    notes = {
        "pairs": len(pairs),
        "lines to columns": f"{seconds(partial(LocalEvents.of, batches))} s",
        "events to pairs": f"{seconds(partial(events.pairs, PREPARATION))} s",
    }
    return Contest(what, settings, rows, fit, "at most 1.3 times", notes)


def in_numbers(spark: SparkSession, pairs: Pairs) -> DataFrame:
    """Return pairs as a cached DataFrame of numbers, MLlib's preferred form."""
    numbers = pa.table({"user": pairs.users, "item": pairs.items, "value": pairs.values})
    ratings = spark.createDataFrame(numbers).cache()
    ratings.count()
    return ratings


def measure(given: argparse.Namespace) -> Iterator[Figure]:
    """Measure one engine."""
    work = Work(
        given.ratings, given.users, given.items, given.features, given.iterations, given.seed
    )
    with session() as spark:
        yield contest(spark, given.engine, work).run(spark, given.rounds)


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description="One generation against the bare fit.")
    parser.add_argument("--engine", choices=["implicit", "mllib"], default="implicit")
    for name, default in (
        ("ratings", 1_000_000),
        ("users", 100_000),
        ("items", 20_000),
        ("features", 50),
        ("iterations", 10),
        ("seed", 1),
        ("rounds", 3),
    ):
        parser.add_argument(f"--{name}", type=int, default=default)
    run("batch", measure, parser, ratings=100_000, rounds=1)


if __name__ == "__main__":
    main()
