"""How good clusters are: silhouette, Davies-Bouldin, Dunn, and the sum of squared errors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from batch_layer.examples.examples import TrainingExamples
from common.apps.kmeans.clusters import Clusters, Matrix, sums_by_row
from common.apps.kmeans.pmml import KMeansModel

if TYPE_CHECKING:
    import pyarrow as pa

#: Points whose silhouette is taken, at most: its cost grows with their square, and at this
#: number its standard error is far below 0.01.  (Oryx takes up to 100,000.)
MAX_SILHOUETTE_POINTS = 20_000


@dataclass(frozen=True)
class Spread:
    """How far the points of each cluster are from its center.

    Attributes
    ----------
    clusters : Clusters
        Of which.
    sums : ndarray of float64, shape (k, 3)
        For each cluster the number of points, the sum of their distances, and that of their
        squares.
    """

    clusters: Clusters
    sums: Matrix

    @property
    def sse(self) -> float:
        """Sum of squared distances."""
        return float(self.sums[:, 2].sum())

    @property
    def davies_bouldin(self) -> float:
        """Mean over clusters of the worst (s_i + s_j) / d_ij; NaN of fewer than two.

        Here s is a cluster's mean distance and d the distance of two centers (Davies and
        Bouldin: A Cluster Separation Measure, 1979).
        """
        means, between = self._means_and_distances()
        if len(means) < 2:
            return float("nan")
        with np.errstate(divide="ignore", invalid="ignore"):  # centers may coincide
            ratios = (means[:, np.newaxis] + means) / between
        return float(ratios.max(axis=1).mean())

    @property
    def dunn(self) -> float:
        """Least distance of two centers over the greatest mean distance; NaN of fewer than two.

        Oryx's form of the index of Dunn (1973).
        """
        means, between = self._means_and_distances()
        if len(means) < 2 or not means.max():
            return float("nan")
        return float(between.min() / means.max())

    def _means_and_distances(self) -> tuple[Matrix, Matrix]:
        """Of the clusters with points: mean distances (k,), distances of centers (k, k)."""
        used = self.sums[:, 0] > 0
        centers = self.clusters.centers[used]
        between = np.linalg.norm(centers[:, np.newaxis] - centers, axis=2)
        np.fill_diagonal(between, np.inf)
        return self.sums[used, 1] / self.sums[used, 0], between


def spread(model: KMeansModel, examples: TrainingExamples) -> Spread:
    """Measure the clusters of a model on examples, wherever they are."""

    def sums(part: pa.RecordBatch) -> Matrix:
        points = model.transformation.points(part)[0]
        rows = model.clusters.nearest(points)
        distances = model.clusters.distances(points, rows)
        columns = np.column_stack([np.ones(len(rows)), distances, distances**2])
        return sums_by_row(columns, rows, len(model.clusters))

    return Spread(model.clusters, examples.total(sums))


def silhouette(model: KMeansModel, examples: pa.RecordBatch) -> float:
    """Return the mean silhouette of examples; NaN where all are in one cluster, or each in its own.

    By Euclidean distance (Rousseeuw: Silhouettes, 1987).
    """
    # 67 MB and a second, for one of four measures, and not for training by MLlib.
    from sklearn.metrics import silhouette_score

    points = model.transformation.points(examples)[0]
    rows = model.clusters.nearest(points)
    if not 1 < len(np.unique(rows)) < len(rows):
        return float("nan")
    return float(silhouette_score(points, rows))
