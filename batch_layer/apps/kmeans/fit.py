"""K-means' two engines: from examples to centers and counts."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from pyspark.storagelevel import StorageLevel

from batch_layer.examples.examples import LocalExamples, SparkExamples, TrainingExamples
from common.apps.kmeans.clusters import Clusters, Matrix, Rows, sums_by_row
from common.apps.kmeans.transform import Transformation
from common.records.encoding import Encoding

if TYPE_CHECKING:
    import pyarrow as pa

log = logging.getLogger(__name__)

NO_CATEGORIES = Encoding({})


@dataclass(frozen=True)
class Fit:
    """How clusters are found.

    Attributes
    ----------
    k : int
        How many, at most: those without points are left out.
    iterations : int
        Rounds of Lloyd's algorithm at most.
    initialization : {"k-means||", "random"}
        First centers.
    runs : int
        The best of so many attempts is taken, by the sum of squared distances.
    seed : int
        Of the first centers.
    """

    k: int
    iterations: int
    initialization: Literal["k-means||", "random"]
    runs: int
    seed: int


def fit(examples: TrainingExamples, transformation: Transformation, how: Fit) -> Clusters:
    """Find clusters, with the library that belongs to where the examples are."""
    if isinstance(examples, LocalExamples):
        clusters = fit_sklearn(transformation.points(examples.table)[0], how)
    else:
        clusters = fit_mllib(examples, transformation, how)
    if len(clusters) < how.k:
        log.warning("%d of %d clusters have no points: left out", how.k - len(clusters), how.k)
    return clusters


def fit_sklearn(points: Matrix, how: Fit) -> Clusters:
    """Find clusters by scikit-learn.

    The centers are made once more from the final assignment: threads add up in any order, and
    the same data have to give the same bytes.

    Parameters
    ----------
    points : ndarray of float64, shape (n, d)
        Where n is at least 1.
    how : Fit
        See there.
    """
    # 78 MB and a second, which training by MLlib does not need.
    from sklearn.cluster import KMeans

    library = KMeans(
        n_clusters=_distinct(points, how.k),
        init="random" if how.initialization == "random" else "k-means++",
        n_init=how.runs,
        max_iter=how.iterations,
        random_state=how.seed,
    )
    assignment = library.fit(points).labels_.astype(np.int64)
    counts = np.bincount(assignment, minlength=library.n_clusters)
    sums = sums_by_row(points, assignment, library.n_clusters)
    return _without_empty(sums / np.maximum(counts, 1)[:, np.newaxis], counts)


def _distinct(points: Matrix, enough: int) -> int:
    """Count distinct points, as far as `enough`."""
    found = set()
    for point in points:
        found.add(tuple(point.tolist()))
        if len(found) == enough:
            break
    return len(found)


def fit_mllib(examples: SparkExamples, transformation: Transformation, how: Fit) -> Clusters:
    """Find clusters by MLlib."""
    # What brings pandas with it, 50 MB, stays out of the executors' workers, which import this
    # module for its functions.
    from pyspark.ml.clustering import KMeans

    def points(table: pa.RecordBatch) -> Matrix:
        return transformation.points(table)[0]

    vectors = examples.vectors(points).persist(StorageLevel.MEMORY_AND_DISK)
    try:
        models = [
            KMeans(
                k=how.k, maxIter=how.iterations, initMode=how.initialization, seed=how.seed + run
            ).fit(vectors)
            for run in range(how.runs)
        ]
        best = min(models, key=lambda model: model.summary.trainingCost)
        counts = np.array(best.summary.clusterSizes, np.int64)
        return _without_empty(np.array(best.clusterCenters()), counts)
    finally:
        vectors.unpersist()


def _without_empty(centers: Matrix, counts: Rows) -> Clusters:
    """Leave out what has no points; ids count from 0."""
    kept = np.flatnonzero(counts)
    return Clusters(tuple(range(len(kept))), centers[kept], counts[kept])


def moments(examples: TrainingExamples) -> list[tuple[float, float]]:
    """Return mean and standard deviation of each numeric predictor."""
    schema = examples.schema
    features = [name for name in schema.predictors if name in schema.numeric]
    if not features:
        return []

    def sums(part: pa.RecordBatch) -> Matrix:
        numbers = NO_CATEGORIES.encode(part, features)[0]
        return np.stack([np.full(len(features), len(numbers), np.float64), numbers.sum(axis=0)])

    n, total = examples.total(sums)
    means = total / n

    def squares(part: pa.RecordBatch) -> Matrix:
        numbers = NO_CATEGORIES.encode(part, features)[0]
        found: Matrix = ((numbers - means) ** 2).sum(axis=0, keepdims=True)
        return found

    deviations = np.sqrt(examples.total(squares)[0] / n)
    return list(zip(means.tolist(), deviations.tolist(), strict=True))
