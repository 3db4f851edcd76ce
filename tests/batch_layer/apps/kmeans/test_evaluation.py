"""How good clusters are, by hand and by scikit-learn."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pytest
from sklearn.metrics import davies_bouldin_score

from batch_layer.apps.kmeans.evaluation import Spread, silhouette, spread
from batch_layer.apps.kmeans.fit import Fit, fit_sklearn
from batch_layer.examples.examples import LocalExamples
from common.apps.kmeans.clusters import Clusters, Matrix
from common.apps.kmeans.pmml import KMeansModel
from common.apps.kmeans.transform import Transformation
from common.records.encoding import Encoding
from common.records.schema import InputSchema

SCHEMA = InputSchema(("x", "y"), frozenset(), frozenset(), frozenset("xy"), frozenset())
PLAIN = Transformation.of(SCHEMA, Encoding({}))


def examples(points: Matrix) -> LocalExamples:
    return LocalExamples(SCHEMA, pa.RecordBatch.from_pydict({"x": points[:, 0], "y": points[:, 1]}))


def measured(centers: list[list[float]], points: list[list[float]]) -> Spread:
    clusters = Clusters(
        tuple(range(len(centers))), np.array(centers), np.zeros(len(centers), np.int64)
    )
    return spread(KMeansModel(SCHEMA, PLAIN, clusters), examples(np.array(points, np.float64)))


def test_by_hand() -> None:
    found = measured([[0, 0], [10, 0]], [[1, 0], [0, 3], [10, 2]])
    assert found.sums.tolist() == [[2, 4, 10], [1, 2, 4]]
    assert found.sse == 14
    assert found.davies_bouldin == (2 + 2) / 10
    assert found.dunn == 10 / 2


def test_clusters_without_points_say_nothing() -> None:
    found = measured([[0, 0], [10, 0], [500, 500]], [[1, 0], [0, 3], [10, 2]])
    assert (found.sse, found.davies_bouldin, found.dunn) == (14, 0.4, 5)
    alone = measured([[0, 0], [500, 500]], [[1, 0]])
    assert alone.sse == 1
    assert math.isnan(alone.davies_bouldin)
    assert math.isnan(alone.dunn)


def test_points_on_their_centers_have_no_dunn_index() -> None:
    found = measured([[0, 0], [1, 1]], [[0, 0], [1, 1]])
    assert (found.sse, found.davies_bouldin) == (0, 0)
    assert math.isnan(found.dunn)


def test_by_the_library() -> None:
    random = np.random.default_rng(2)
    points = random.normal(size=(600, 2)) + random.integers(0, 3, (600, 1)) * 5
    clusters = fit_sklearn(points, Fit(3, 30, "k-means||", 1, 1))
    model = KMeansModel(SCHEMA, PLAIN, clusters)
    found = spread(model, examples(points))
    expected = davies_bouldin_score(points, clusters.nearest(points))
    assert found.davies_bouldin == pytest.approx(expected)
    assert 0.6 < silhouette(model, examples(points).table) < 0.9


def test_the_silhouette_of_one_cluster_and_of_single_points_is_not_known() -> None:
    for points in ([[0.0, 0.0], [0.0, 1.0]], [[0.0, 0.0], [9.0, 9.0]]):
        clusters = Clusters((0, 1), np.array([[0.0, 0.0], [9.0, 9.0]]), np.array([1, 1]))
        model = KMeansModel(SCHEMA, PLAIN, clusters)
        assert math.isnan(silhouette(model, examples(np.array(points)).table))


def test_tight_clusters_far_apart_have_a_silhouette_near_one() -> None:
    points = np.array([[0.0, 0.0], [0.0, 0.1], [100.0, 0.0], [100.0, 0.1]])
    clusters = Clusters((0, 1), np.array([[0.0, 0.0], [100.0, 0.0]]), np.array([2, 2]))
    model = KMeansModel(SCHEMA, PLAIN, clusters)
    assert silhouette(model, examples(points).table) > 0.99
