"""K-means in the batch layer: what a generation holds, whichever engine trains it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from batch_layer.api import BatchContext, Built
from batch_layer.apps.kmeans.fit import Fit, fit_sklearn
from batch_layer.apps.kmeans.update import Batch
from common.apps.kmeans.pmml import KMeansModel, read_kmeans_pmml
from common.config import ConfigError
from common.records.schema import SchemaError
from common.runtime.configuration import load

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

NOW = 1_700_000_000_000
ENGINES = ["sklearn", pytest.param("mllib", marks=pytest.mark.slow)]
SITES = np.array([[0.0, 100.0], [10.0, 200.0], [0.0, 300.0]])
COLOURS = np.array(["red", "green", "blue"])

pytestmark = pytest.mark.integration


class Layer:
    """Runs the family as the batch layer does, in a new folder each time."""

    def __init__(self, spark: SparkSession, folder: Path) -> None:
        self.spark = spark
        self.folder = folder
        self.document = b""

    def run(
        self, lines: Sequence[str], past: Sequence[str] = (), **flags: Any
    ) -> tuple[Built, KMeansModel]:
        dotted = {name.replace("__", "."): value for name, value in flags.items()}
        schema = {
            "input_schema.feature_names": ["x", "y", "colour"],
            "input_schema.categorical_features": ["colour"],
        }
        settings = load(flags={"app": "kmeans", **schema, **dotted}, environment={})
        directory = self.folder / str(len(list(self.folder.iterdir())))
        directory.mkdir()
        n_events = len(lines) + len(past)
        context = BatchContext(self.spark, settings, directory, NOW, n_events)
        frames = self._frame(lines, len(past)), self._frame(past, 0) if past else None
        built = Batch(settings).run(context, *frames)
        assert built is not None
        self.document = (directory / built.model_file).read_bytes()
        return built, read_kmeans_pmml(self.document)

    def _frame(self, lines: Sequence[str], start: int) -> Any:
        schema = "partition INT, offset BIGINT, timestamp BIGINT, key STRING, value STRING"
        rows = [(0, start + n, NOW, None, line) for n, line in enumerate(lines)]
        return self.spark.createDataFrame(rows, schema)


@pytest.fixture
def layer(spark: SparkSession, tmp_path: Path) -> Layer:
    return Layer(spark, tmp_path)


def lines(count: int = 300, seed: int = 1) -> list[str]:
    """Points about three sites, a third at each, every site with its colour."""
    random = np.random.default_rng(seed)
    sites = np.arange(count) % 3
    points = SITES[sites] + random.normal(size=(count, 2)) * [0.5, 10.0]
    return [
        f"{x:.3f},{y:.3f},{colour}"
        for (x, y), colour in zip(points.tolist(), COLOURS[sites], strict=True)
    ]


@pytest.mark.parametrize("engine", ENGINES)
def test_a_generation_knows_the_sites(layer: Layer, engine: str) -> None:
    built, model = layer.run(lines(), kmeans__engine=engine, kmeans__hyperparams__k=3)
    assert (built.engine, built.hyperparameters) == (engine, {"k": 3})
    assert built.metrics["silhouette"] == built.metrics["score"]
    assert 0.8 < (built.metrics["score"] or 0) < 1
    assert model.timestamp == NOW
    assert model.clusters.ids == (0, 1, 2)
    assert model.clusters.counts.tolist() == [100, 100, 100]
    found = model.clusters.centers[np.argsort(model.clusters.centers[:, 1])]
    assert found[:, 0] == pytest.approx(SITES[:, 0], abs=0.3)
    assert found[:, 1] == pytest.approx(SITES[:, 1], abs=5)
    # Categories in order: blue, green, red.
    assert found[:, 2:].tolist() == [[0, 0, 1], [0, 1, 0], [1, 0, 0]]


@pytest.mark.parametrize("engine", ENGINES)
def test_standardised_features_weigh_alike(layer: Layer, engine: str) -> None:
    given = [f"{x},{y},same" for x in (0, 1) for y in (0, 900, 1000, 2000) for _ in range(3)]
    flags: dict[str, Any] = {
        "kmeans__engine": engine,
        "kmeans__hyperparams__k": 2,
        "ml__eval__test_fraction": 0,
    }
    _, plain = layer.run(given, **flags)
    assert plain.clusters.centers[:, 0] == pytest.approx([0.5, 0.5])
    _, model = layer.run(given, kmeans__standardize=True, kmeans__runs=5, **flags)
    x, y, category = model.transformation.coordinates
    assert (x.low, x.high) == (0.5, 1.0)
    assert (y.low, y.high) == (975.0, 975.0 + np.std([0, 900, 1000, 2000]))
    assert category.category == "same"
    assert sorted(model.clusters.centers[:, 0]) == pytest.approx([-1, 1])
    assert model.clusters.centers[:, 1] == pytest.approx([0, 0])


@pytest.mark.parametrize("engine", ENGINES)
def test_clusters_without_points_are_left_out(
    layer: Layer, engine: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        _, model = layer.run(["1,2,red"] * 6 + ["3,4,red"] * 2, kmeans__engine=engine)
    assert sorted(model.clusters.counts.tolist()) == [2, 6]
    assert "8 of 10 clusters have no points" in caplog.text


def test_one_example_is_one_cluster(layer: Layer) -> None:
    built, model = layer.run(["1,2,red"])
    assert model.clusters.centers.tolist() == [[1, 2, 1]]
    assert built.metrics["score"] is None


@pytest.mark.parametrize("engine", ENGINES)
def test_the_search_prefers_the_k_with_the_least_error(layer: Layer, engine: str) -> None:
    random = np.random.default_rng(4)
    given = [f"{x},{y},red" for x, y in random.random((400, 2)).round(4).tolist()]
    built, model = layer.run(
        given,
        kmeans__engine=engine,
        kmeans__hyperparams__k=[2, 100],
        kmeans__evaluation_strategy="SSE",
        kmeans__iterations=3,
        ml__eval__candidates=3,
        ml__eval__hyperparam_search="grid",
    )
    assert built.hyperparameters == {"k": 100}
    assert sorted(row["hyperparameters"]["k"] for row in built.candidates) == [2, 51, 100]
    assert built.metrics["score"] == -(built.metrics["sse"] or 0)
    assert 90 <= len(model.clusters) <= 100
    assert model.clusters.counts.sum() == 400


@pytest.mark.parametrize("strategy", ["SILHOUETTE", "DAVIES_BOULDIN", "DUNN"])
def test_the_other_strategies_find_the_true_number(layer: Layer, strategy: str) -> None:
    built, _ = layer.run(
        lines(),
        kmeans__hyperparams__k=[2, 4],
        kmeans__evaluation_strategy=strategy,
        kmeans__runs=3,
        ml__eval__candidates=3,
        ml__eval__hyperparam_search="grid",
    )
    assert built.hyperparameters == {"k": 3}
    assert len(built.candidates) == 3
    found = built.metrics[strategy.lower()]
    assert built.metrics["score"] == (-found if strategy == "DAVIES_BOULDIN" else found)  # type: ignore[operator]


def test_both_engines_find_the_same_clusters(layer: Layer) -> None:
    flags = {"kmeans__hyperparams__k": 3, "kmeans__runs": 2, "kmeans__standardize": True}
    found = []
    for engine in ("sklearn", "mllib"):
        _, model = layer.run(lines(120), lines(60, seed=2), kmeans__engine=engine, **flags)
        order = np.argsort(model.clusters.centers[:, 1])
        found.append((model.clusters.centers[order], model.transformation.coordinates))
    assert found[0][0] == pytest.approx(found[1][0])
    for one, other in zip(found[0][1], found[1][1], strict=True):
        assert (one.feature, one.category) == (other.feature, other.category)
        assert (one.low, one.high) == pytest.approx((other.low, other.high))


def test_the_same_seed_gives_the_same_bytes(layer: Layer) -> None:
    documents = set()
    for _ in range(3):
        layer.run(lines(2000), kmeans__hyperparams__k=20, kmeans__standardize=True)
        documents.add(layer.document)
    assert len(documents) == 1
    layer.run(lines(2000), kmeans__hyperparams__k=20, kmeans__standardize=True, ml__seed=2)
    assert layer.document not in documents


def test_lines_of_another_schema_are_left_out(
    layer: Layer, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        _, model = layer.run([*lines(30), "1,2", "1,,red", "x,2,red"], ml__eval__test_fraction=0)
    assert model.clusters.counts.sum() == 30
    assert "3 lines of the history left out" in caplog.text


def test_a_schema_with_a_target_is_refused() -> None:
    settings = load(
        flags={
            "app": "kmeans",
            "input_schema.num_features": 2,
            "input_schema.numeric_features": ["0"],
            "input_schema.target_feature": "1",
        },
        environment={},
    )
    with pytest.raises(SchemaError, match="target_feature"):
        Batch(settings)
    assert issubclass(SchemaError, ConfigError)


def test_the_best_of_several_runs_is_taken() -> None:
    random = np.random.default_rng(7)
    points = np.repeat(random.random((12, 2)) * 100, 20, axis=0) + random.normal(size=(240, 2))

    def error(runs: int, seed: int) -> float:
        clusters = fit_sklearn(points, Fit(12, 30, "random", runs, seed))
        return float((clusters.distances(points, clusters.nearest(points)) ** 2).sum())

    assert error(8, seed=1) < error(1, seed=1)
