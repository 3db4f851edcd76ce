"""The forest in the batch layer: what a generation holds, whichever engine trains it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest

from batch_layer.api import BatchContext, Built
from batch_layer.apps.forest.update import Batch
from common.apps.forest.model import ForestModel
from common.apps.forest.pmml import record_counts
from common.apps.forest.pmml_reader import read_forest_pmml
from common.apps.forest.settings import encoding_of
from common.config import ConfigError, Settings
from common.records.columns import parse
from common.records.schema import InputSchema, SchemaError
from common.runtime.configuration import load

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

NOW = 1_700_000_000_000
ENGINES = ["sklearn", pytest.param("mllib", marks=pytest.mark.slow)]
SHAPES = ("round", "square", "flat", "odd")

pytestmark = pytest.mark.integration


def configured(folder: Path, **flags: Any) -> Settings:
    dotted = {name.replace("__", "."): value for name, value in flags.items()}
    schema = {
        "input_schema.feature_names": ["id", "x", "y", "z", "shape", "target"],
        "input_schema.id_features": ["id"],
        "input_schema.numeric_features": ["x", "y", "z"],
        "input_schema.target_feature": "target",
        "forest.num_trees": 10,
        "forest.hyperparams.min_node_size": 2,
        "batch.storage.data_dir": str(folder / "data"),
    }
    return load(flags={"app": "forest", **schema, **dotted}, environment={})


class Layer:
    """Runs the family as the batch layer does, in a new folder each time."""

    def __init__(self, spark: SparkSession, folder: Path) -> None:
        self.spark = spark
        self.folder = folder

    def run(self, lines: Sequence[str], **flags: Any) -> tuple[Built, ForestModel]:
        settings = configured(self.folder, **flags)
        directory = self.folder / str(len(list(self.folder.iterdir())))
        directory.mkdir()
        context = BatchContext(self.spark, settings, directory, NOW, len(lines))
        built = Batch(settings).run(context, self._frame(lines), None)
        assert built is not None
        document = (directory / built.model_file).read_bytes()
        schema = InputSchema.from_settings(settings.input_schema)
        return built, read_forest_pmml(document, schema)

    def _frame(self, lines: Sequence[str]) -> Any:
        schema = "partition INT, offset BIGINT, timestamp BIGINT, key STRING, value STRING"
        rows = [(0, n, NOW, None, line) for n, line in enumerate(lines)]
        return self.spark.createDataFrame(rows, schema)


@pytest.fixture
def layer(spark: SparkSession, tmp_path: Path) -> Layer:
    return Layer(spark, tmp_path)


def lines(count: int = 1200, numeric: bool = False, seed: int = 1) -> list[str]:
    """The target is whether three numbers are large at once, or how many of them are.

    Whatever is of an odd shape is the other way round; some shapes are missing.
    """
    random = np.random.default_rng(seed)
    found = []
    for number in range(count):
        point = random.random(3)
        shape = SHAPES[random.integers(0, 4)]
        large = point > 0.3
        if numeric:
            target: object = int(large.sum()) + (10 if shape == "odd" else 0)
        else:
            target = "yes" if large.all() != (shape == "odd") else "no"
        shown = "" if random.random() < 0.02 else shape
        found.append(f"{number},{','.join(f'{value:.4f}' for value in point)},{shown},{target}")
    return found


def predicted(model: ForestModel, asked: Sequence[str]) -> tuple[list[Any], list[Any]]:
    """Return predictions and targets."""
    schema = model.fields.schema
    table = parse(pa.array(asked), schema)[0]
    rows, _ = encoding_of(model).encode(table, schema.predictors)
    scores = model.predict(rows)
    codes = scores.argmax(axis=1).tolist()
    found = [model.classes[code] for code in codes] if model.classes else scores[:, 0].tolist()
    return found, table["target"].to_pylist()


@pytest.mark.parametrize("engine", ENGINES)
def test_classes_are_learned_and_evaluated(layer: Layer, engine: str) -> None:
    built, model = layer.run(lines(), forest__engine=engine, ml__eval__test_fraction=0.2)
    assert built.engine == engine
    found, expected = predicted(model, lines(seed=2))
    accuracy = np.mean([a == b for a, b in zip(found, expected, strict=True)])
    assert accuracy > 0.9
    assert built.metrics["score"] == built.metrics["accuracy"]
    assert built.metrics["accuracy"] == pytest.approx(accuracy, abs=0.08)
    assert 0.9 < (built.metrics["auc"] or 0) <= 1
    assert 0 < (built.metrics["log_loss"] or 0) < 0.6
    assert model.fields.categories == {"shape": tuple(sorted(SHAPES)), "target": ("no", "yes")}
    assert model.timestamp == NOW
    assert sum(model.fields.importances.values()) == pytest.approx(1)
    assert min(model.fields.importances.values()) > 0.02
    assert model.trees.depths.max() <= 8
    roots = record_counts(model)[model.trees.roots]
    assert roots == pytest.approx(np.full(10, 1200), rel=0.15)
    assert (model.trees.subset >= 0).any()


@pytest.mark.parametrize("engine", ENGINES)
def test_numbers_are_learned_and_evaluated(layer: Layer, engine: str) -> None:
    built, model = layer.run(
        lines(numeric=True),
        forest__engine=engine,
        ml__eval__test_fraction=0.2,
        input_schema__numeric_features=["x", "y", "z", "target"],
    )
    found, expected = predicted(model, lines(numeric=True, seed=2))
    rmse = float(np.sqrt(np.mean((np.array(found) - np.array(expected)) ** 2)))
    assert rmse < 1.5 < np.std(expected)
    assert built.metrics["score"] == -(built.metrics["rmse"] or 0)
    assert built.hyperparameters["impurity"] == "variance"


@pytest.mark.slow
def test_mllib_honours_what_it_is_told(layer: Layer) -> None:
    _, model = layer.run(
        lines(),
        forest__engine="mllib",
        forest__num_trees=3,
        forest__hyperparams__max_depth=3,
        forest__hyperparams__min_node_size=60,
        forest__hyperparams__max_split_candidates=6,
        ml__eval__test_fraction=0,
    )
    assert 1 < model.trees.depths.max() <= 3
    assert model.leaves.counts[model.trees.is_leaf].min() >= 60
    numeric = model.trees.threshold[np.isfinite(model.trees.threshold)]
    assert 0 < len(np.unique(numeric)) <= 3 * 5
    assert not list((layer.folder / "data").glob(".forest-*"))


def test_the_search_prefers_a_tree_that_is_deep_enough(layer: Layer) -> None:
    built, model = layer.run(
        lines(),
        forest__hyperparams__max_depth=[1, 8],
        ml__eval__candidates=2,
        ml__eval__hyperparam_search="grid",
        ml__eval__test_fraction=0.3,
    )
    assert built.hyperparameters["max_depth"] == 8
    assert model.parameters.max_depth == 8
    assert len(built.candidates) == 2


def test_a_class_that_only_the_test_data_have_is_a_wrong_prediction(layer: Layer) -> None:
    strange = [line.rpartition(",")[0] + ",strange" for line in lines(40, seed=5)]
    built, _ = layer.run([*lines(400), *strange], ml__eval__test_fraction=0.999)
    assert built.metrics["accuracy"] is not None


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"forest__hyperparams__impurity": "variance"}, "target is a category"),
        (
            {
                "forest__hyperparams__impurity": ["gini", "variance"],
                "input_schema__numeric_features": ["x", "y", "z", "target"],
            },
            "target is a number",
        ),
    ],
)
def test_an_impurity_of_the_other_kind_is_refused(
    tmp_path: Path, flags: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        Batch(configured(tmp_path, **flags))


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"input_schema__target_feature": None}, "set input_schema.target_feature"),
        (
            {
                "input_schema__ignored_features": ["x", "y", "z", "shape"],
                "input_schema__numeric_features": [],
            },
            "no feature to predict 'target' from",
        ),
    ],
)
def test_a_schema_without_a_question_is_refused(
    tmp_path: Path, flags: dict[str, Any], words: str
) -> None:
    settings = configured(tmp_path, **{k: v for k, v in flags.items() if v is not None})
    if None in flags.values():
        table = settings.input_schema.model_copy(update={"target_feature": None})
        settings = settings.model_copy(update={"input_schema": table})
    with pytest.raises(SchemaError, match=words):
        Batch(settings)
