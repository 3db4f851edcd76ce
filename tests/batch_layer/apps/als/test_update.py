"""ALS in the batch layer: what a generation holds, whichever engine trains it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyspark.sql import DataFrame, SparkSession

from batch_layer.api import BatchContext, Built
from batch_layer.apps.als.update import Batch
from common.apps.als.payload import decode_update
from common.apps.als.pmml import AlsModel, read_als_pmml
from common.factors.files import ITEM_FACTORS, USER_FACTORS, StoredFactors, read_factors
from common.runtime.configuration import load
from common.store.generations import Generation, Manifest, ModelStore

DAY = 86_400_000
NOW = 20_000 * DAY
ENGINES = ["auto", pytest.param("mllib", marks=pytest.mark.slow)]

pytestmark = pytest.mark.integration


class Layer:
    """Runs the family as the batch layer does, one folder for each generation."""

    def __init__(self, spark: SparkSession, folder: Path) -> None:
        self.spark = spark
        self.folder = folder
        self.store = ModelStore(str(folder))

    def rows(self, lines: Sequence[str]) -> DataFrame:
        numbers = np.arange(len(lines))
        table = pa.table(
            {
                "partition": pa.array(np.zeros(len(lines), np.int32)),
                "offset": pa.array(numbers),
                "timestamp": pa.array(NOW - len(lines) + numbers),
                "key": pa.nulls(len(lines), pa.string()),
                "value": pa.array(list(lines), pa.string()),
            }
        )
        return self.spark.createDataFrame(table)

    def run(
        self, lines: Sequence[str], past: Sequence[str] | None = None, **flags: Any
    ) -> Run | None:
        settings = load(flags={key.replace("__", "."): value for key, value in flags.items()})
        batch = Batch(settings)
        number = len(self.store.ids()) + 1
        n_events = len(lines) + len(past or ())
        context = BatchContext(self.spark, settings, self.store.new(number), NOW, n_events)
        past_rows = None if past is None else self.rows(past)
        built = batch.run(context, self.rows(lines), past_rows)
        if built is None:
            return None
        manifest = Manifest(
            generation=number,
            app="als",
            model_file=built.model_file,
            files={},
            topic_id="",
            cut={},
            metrics=built.metrics,
            hyperparameters=built.hyperparameters,
            candidates=built.candidates,
        )
        return Run(batch, built, self.store.commit(context.directory, manifest))


class Run:
    """What a run has left behind."""

    def __init__(self, batch: Batch, built: Built, generation: Generation) -> None:
        self.batch = batch
        self.built = built
        self.generation = generation

    @property
    def users(self) -> StoredFactors:
        return read_factors(self.generation.path(USER_FACTORS))

    @property
    def items(self) -> StoredFactors:
        return read_factors(self.generation.path(ITEM_FACTORS))

    @property
    def pmml(self) -> AlsModel:
        return read_als_pmml(self.generation.path(self.built.model_file).read_bytes())

    @property
    def known(self) -> Mapping[str, list[str]]:
        users, items = self.users, self.items
        assert users.known_items is not None
        known = zip(users.ids, users.known_items, strict=True)
        return {user: [items.ids[row] for row in rows] for user, rows in known}

    def updates(self) -> list[str]:
        updates = self.batch.updates(self.generation)
        listed = list(updates)
        assert len(updates) == len(listed)
        return listed


@pytest.fixture
def layer(spark: SparkSession, tmp_path: Path) -> Layer:
    return Layer(spark, tmp_path)


def modular(n_users: int, n_items: int, modulus: int, keep: float = 1.0) -> list[str]:
    """Interactions of each user with the items that are equal to him modulo `modulus`."""
    random = np.random.default_rng(1)
    pairs = [(u, i) for u in range(n_users) for i in range(n_items) if u % modulus == i % modulus]
    order = random.permutation(len(pairs))[: round(keep * len(pairs))]
    return [f"u{pairs[at][0]},i{pairs[at][1]},1,{NOW - DAY + n}" for n, at in enumerate(order)]


@pytest.mark.parametrize("engine", ENGINES)
def test_content_after_deletes(layer: Layer, engine: str) -> None:
    """Oryx's case: the upper triangle, its diagonal deleted, one of it added again."""
    ids = ["A0", "B1", "C2", "D3"]
    pairs = [(u, i) for a, u in enumerate(ids) for i in ids[a:]]
    lines = [f"{u},{i},1,{n + 1}" for n, (u, i) in enumerate(pairs)]
    lines += [f"{u},{u},,{n + 100}" for n, u in enumerate(ids)]
    lines += ["A0,A0,1,200"]
    run = layer.run(lines, als__engine=engine, als__iterations=2, ml__eval__test_fraction=0)
    assert run is not None
    assert run.users.ids == run.pmml.user_ids == ["A0", "B1", "C2"]
    assert run.items.ids == run.pmml.item_ids == ids
    assert run.known == {"A0": ids, "B1": ["C2", "D3"], "C2": ["D3"]}
    assert run.built.engine == ("mllib" if engine == "mllib" else "driver")


@pytest.mark.parametrize("engine", ENGINES)
def test_pmml_and_updates_tell_the_same_as_the_files(layer: Layer, engine: str) -> None:
    past = modular(6, 8, 2)
    new = ["u9,i9,2", "u0,i1,1"]
    flags: dict[str, Any] = {
        "als__engine": engine,
        "als__iterations": 2,
        "als__hyperparams__features": 3,
    }
    run = layer.run(new, past, update_topic__factors="topic", **flags)
    assert run is not None
    users, items, model = run.users, run.items, run.pmml
    assert "u9" in users.ids
    assert "u5" in users.ids
    assert (model.features, model.implicit, model.regularization, model.alpha) == (
        3,
        True,
        0.001,
        1.0,
    )
    assert (model.user_ids, model.item_ids, model.timestamp) == (users.ids, items.ids, NOW)
    updates = [decode_update(update) for update in run.updates()]
    assert [u.kind for u in updates] == ["Y"] * len(items.ids) + ["X"] * len(users.ids)
    assert [u.id for u in updates] == [*items.ids, *users.ids]
    assert np.array_equal([u.vector for u in updates[len(items.ids) :]], users.vectors)
    assert {u.id: list(u.related) for u in updates if u.kind == "X"} == run.known
    assert not any(u.related for u in updates if u.kind == "Y")


def test_factors_stay_in_the_files_by_default(layer: Layer) -> None:
    run = layer.run(["u,i"])
    assert run is not None
    assert run.updates() == []


def test_tuning_finds_the_number_of_features(layer: Layer) -> None:
    """Oryx's case: 7 features against 1, where items are equal to users modulo 7."""
    run = layer.run(
        modular(98, 98, 7, keep=0.7),
        als__hyperparams__features=[1, 7],
        ml__eval__candidates=2,
        ml__eval__hyperparam_search="grid",
        ml__eval__test_fraction=0.3,
        ml__eval__parallelism=2,
    )
    assert run is not None
    assert run.built.hyperparameters["features"] == 7
    assert run.pmml.features == run.users.vectors.shape[1] == 7
    scores = {
        row["hyperparameters"]["features"]: row["metrics"]["auc"] for row in run.built.candidates
    }
    assert scores[7] > 0.95 > scores[1] > 0.4


@pytest.mark.slow
@pytest.mark.parametrize("implicit", [True, False])
def test_engines_agree(layer: Layer, implicit: bool) -> None:
    random = np.random.default_rng(2)
    taste, kind = random.standard_normal((90, 3)), random.standard_normal((60, 3))
    likes = taste @ kind.T + 0.2 * random.standard_normal((90, 60))
    pairs = np.argwhere(random.random((90, 60)) < (0.3 if not implicit else 1.0))
    if implicit:
        pairs = np.array([(u, i) for u, i in pairs if likes[u, i] > 1.5])
    pairs = random.permutation(pairs)
    lines = [
        f"u{u},i{i},{1 if implicit else round(3 + likes[u, i], 3)},{NOW - DAY + n}"
        for n, (u, i) in enumerate(pairs)
    ]
    scores: list[float] = []
    for engine in ("auto", "mllib"):
        run = layer.run(
            lines,
            als__engine=engine,
            als__implicit=implicit,
            als__hyperparams__features=4,
            als__hyperparams__lambda=0.01,
            ml__eval__test_fraction=0.2,
            ml__eval__refit=False,
        )
        assert run is not None
        assert run.built.metrics["score"] is not None
        scores.append(run.built.metrics["score"])
    if implicit:
        assert scores[0] == pytest.approx(scores[1], abs=0.03)
        assert scores[0] > 0.8
    else:
        assert scores[0] == pytest.approx(scores[1], rel=0.1)
        assert -1.0 < scores[0] < 0
        assert run is not None
        assert run.built.metrics["rmse"] == -scores[1]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("implicit", [True, False])
def test_engines_prepare_alike(layer: Layer, engine: str, implicit: bool) -> None:
    """Sums, deletes, order by time and then by offset, decay and threshold, logarithm."""
    from batch_layer.apps.als.data import Preparation
    from batch_layer.apps.als.local import LocalEvents
    from batch_layer.apps.als.mllib import SparkEvents

    rows = layer.rows(
        [
            f"u,sum,1,{NOW - DAY}",
            f"u,sum,2,{NOW}",
            f"u,deleted,4,{NOW - 5}",
            f"u,deleted,,{NOW}",
            f"u,again,,{NOW}",
            f"u,again,3,{NOW}",
            f"u,late,8,{NOW - 2 * DAY}",
            f"u,weak,0.1,{NOW}",
            f"v,minus,-2,{NOW + DAY}",
        ]
    )
    how = Preparation(
        implicit=implicit,
        log_strength=True,
        epsilon=0.5,
        decay_factor=0.5,
        zero_threshold=0.2,
        now=NOW,
    )
    events = (
        SparkEvents.of(rows) if engine == "mllib" else LocalEvents.of(rows.toArrow().to_batches())
    )
    pairs = events.pairs(how)
    events.release()
    found = {
        (pairs.user_ids[int(u)].as_py(), pairs.item_ids[int(i)].as_py()): float(value)
        for u, i, value in zip(pairs.users, pairs.items, pairs.values, strict=True)
    }
    strengths = {
        ("u", "sum"): 2.5 if implicit else 2.0,
        ("u", "again"): 3.0,
        ("u", "late"): 2.0,
        ("v", "minus"): -2.0,
    }
    expected = {pair: np.sign(v) * np.log1p(abs(v) / 0.5) for pair, v in strengths.items()}
    assert found == pytest.approx(expected, rel=1e-6)
    assert list(found) == sorted(found)


@pytest.mark.parametrize("engine", ENGINES)
def test_items_too_weak_to_train_on_stay_known(layer: Layer, engine: str) -> None:
    lines = [f"a,x,1,{NOW}", f"a,old,1,{NOW - 9 * DAY}", f"b,old,1,{NOW}"]
    flags: dict[str, Any] = {"als__engine": engine, "als__iterations": 1}
    weak: dict[str, Any] = {"als__decay__factor": 0.5, "als__decay__zero_threshold": 0.1}
    run = layer.run(lines, **flags, **weak)
    assert run is not None
    assert run.known == {"a": ["old", "x"], "b": ["old"]}
    assert run.built.metrics == {"score": None}, "its oldest event alone trains nothing"
    without = layer.run(lines, als__no_known_items=True, **flags)
    assert without is not None
    assert without.users.known_items is None


def test_the_newest_part_of_the_time_is_held_out(layer: Layer) -> None:
    """Oryx's rule: boundary = max - f·(max - min); past data are all for training."""
    settings = load(flags={"ml.eval.test_fraction": 0.25})
    context = BatchContext(layer.spark, settings, layer.folder, NOW, 102)
    new = layer.rows([f"u,i{n},1,{1000 + n}" for n in range(101)])
    past = layer.rows(["p,i,1,5000"])
    split = Batch(settings).split(context, new, past)
    assert split is not None
    assert split.train is not None
    assert split.test is not None
    assert split.train.time_range() == (1000, 5000)
    assert split.test.time_range() == (1075, 1100)
    assert split.everything.time_range() == (1000, 5000)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("lines", [["a,b,"], ["no line at all"]])
def test_nothing_to_train_on_publishes_nothing(layer: Layer, engine: str, lines: list[str]) -> None:
    assert layer.run(lines, als__engine=engine) is None
    assert layer.run(lines, lines, als__engine=engine) is None


def test_events_of_one_moment_still_make_a_model(layer: Layer) -> None:
    run = layer.run(
        [f"u{n % 3},i{n},1,77" for n in range(9)], ml__eval__threshold=0.9, ml__eval__candidates=3
    )
    assert run is not None
    assert run.built.metrics == {"score": None}
    assert len(run.items.ids) == 9


def test_the_same_seed_and_data_give_the_same_files(layer: Layer) -> None:
    runs = [layer.run(modular(20, 20, 3), ml__eval__test_fraction=0.1) for _ in range(2)]
    files = [run.generation.manifest.files for run in runs if run is not None]
    assert sorted(files[0]) == [
        ITEM_FACTORS,
        "model.pmml",
        USER_FACTORS,
    ]
    assert files[0] == files[1]


def test_hyperparameters_reach_the_model(layer: Layer) -> None:
    run = layer.run(
        modular(10, 10, 2),
        als__implicit=False,
        als__log_strength=True,
        als__hyperparams__features=5,
        als__hyperparams__lambda=1,
        als__hyperparams__epsilon=0.5,
        ml__eval__test_fraction=0,
    )
    assert run is not None
    model = run.pmml
    assert (model.features, model.regularization, model.implicit) == (5, 1.0, False)
    assert (model.log_strength, model.epsilon) == (True, 0.5)
    assert dict(run.built.hyperparameters) == {"features": 5, "lambda": 1.0, "epsilon": 0.5}
