"""The demos of k-means and of the forest: what they measure, show and draw."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from rich.console import Console

from common.apps.forest.layout import Tree, lay_out
from common.apps.forest.model import ForestModel, Leaves, Parameters
from common.apps.forest.pmml import write_forest_pmml
from common.apps.kmeans.clusters import Clusters
from common.apps.kmeans.pmml import KMeansModel, write_kmeans_pmml
from common.apps.kmeans.transform import Transformation
from common.config.sources import read_toml
from common.records.encoding import Encoding
from common.records.pmml_fields import Fields
from common.records.schema import InputSchema
from common.runtime.configuration import load
from common.store.generations import Generation
from demo.act import Act, LiveEvents
from demo.client import ServingClient
from demo.flights import LATE, ON_TIME, PREDICTORS, Flights
from demo.forest import ForestAct
from demo.forest_delay import DelayAct
from demo.forest_lateness import LatenessAct
from demo.kmeans import KMeansAct
from demo.shuttle import Readings

SENSORS = ("f1", "f2", "anomaly")
N_LIVE = 400


@dataclass
class Trained:
    """Stands where a generation would."""

    text: str

    def model_text(self) -> str:
        return self.text


def take(act: Act, document: bytes, serving: Any) -> str:
    return act.open(cast(Generation, Trained(document.decode())), cast(ServingClient, serving))


def judge_all(act: Act, size: int = 50) -> None:
    with ThreadPoolExecutor(1) as pool:
        for start in range(0, len(act.live), size):
            act.judge(slice(start, min(start + size, len(act.live))), pool)
    act.close()


def schema_of(act: Act, tmp_path: Path) -> InputSchema:
    """The schema that the layers are configured with."""
    conf = tmp_path / "demo.toml"
    conf.write_text(f'app = "{act.scene.app}"\n{act.scene.conf}')
    assert read_toml(conf)
    return InputSchema.from_settings(load(conf, environment={}).input_schema)


class Moving:
    """Serves two clusters, of which one moves with each question."""

    def __init__(self, schema: InputSchema) -> None:
        transformation = Transformation.of(schema, Encoding({}), ())
        centers = np.array([[0.0, 0.0], [10.0, 10.0]])
        self.model = KMeansModel(
            schema, transformation, Clusters((0, 1), centers, np.array([30, 10]))
        )

    def pmml(self) -> bytes:
        clusters = self.model.clusters
        center = clusters.centers[1] + 0.1
        moved = clusters.with_cluster(1, center, int(clusters.counts[1]) + 5)
        self.model = KMeansModel(self.model.schema, self.model.transformation, moved)
        return write_kmeans_pmml(self.model)

    def ask(self, path: str, lines: Sequence[str]) -> Any:
        assert path == "/assign"
        return [1] * len(lines)


def readings() -> Readings:
    random = np.random.default_rng(1)
    points = random.normal(size=(10_000 + N_LIVE, 2)) + random.choice([0, 11], (10_400, 1))
    return Readings(SENSORS, [f"{x:.3f},{y:.3f},0" for x, y in points.tolist()])


def test_clusters_as_trained_are_compared_with_those_served(tmp_path: Path) -> None:
    act = KMeansAct(readings(), n_live=None)
    assert (len(act.past), len(act.live)) == (10_000, N_LIVE)
    schema = schema_of(act, tmp_path)
    assert schema.active == ("f1", "f2")
    assert act.measures() == {}
    serving = Moving(schema)
    assert take(act, write_kmeans_pmml(serving.model), serving) == (
        "2 clusters; a new reading belongs to 1"
    )
    judge_all(act)
    results = act.results()
    # The readings of the second cluster lie about (11, 11): it moves towards them.
    assert results["distance"]["updated"] < results["distance"]["as_trained"] < 2
    assert results["silhouette"]["updated"] > 0.8
    assert results["sizes"] == {"as_trained": [30, 10], "updated": [30, 55]}
    assert json.loads(json.dumps(results)) == results
    assert act.measures()["clusters"] == ("75%/25%", "65%/35%", "")
    act.draw(tmp_path / "new" / "picture.png")
    assert (tmp_path / "new" / "picture.png").stat().st_size > 10_000


@pytest.mark.filterwarnings("error")
def test_one_cluster_alone_has_no_silhouette(tmp_path: Path) -> None:
    found = readings()
    act = KMeansAct(Readings(SENSORS, found.lines[:10_000] + ["0,0,0"] * 300), n_live=None)
    serving = Moving(schema_of(act, tmp_path))
    take(act, write_kmeans_pmml(serving.model), serving)
    judge_all(act)
    assert act.results()["silhouette"] == {"as_trained": None, "updated": None}
    act.draw(tmp_path / "picture.png")


def flights(regression: bool) -> Flights:
    """Flights that are late where the wind blows; by so many minutes as it has miles."""
    random = np.random.default_rng(2)
    lines = []
    for wind in random.integers(0, 40, 300).tolist():
        target = wind if regression else (LATE if wind > 20 else ON_TIME)
        lines.append(f"1,600,UA,EWR,IAH,1400,50.0,{wind},,10.0,{target}")
    target_name = "arr_delay" if regression else "departure"
    return Flights(PREDICTORS, target_name, regression, lines[:100], lines[100:])


class Wind:
    """A forest of one tree that tests the wind, and knows better with every question."""

    def __init__(self, schema: InputSchema, regression: bool) -> None:
        categories: dict[str, tuple[str, ...]] = {
            "carrier": ("UA",),
            "origin": ("EWR",),
            "dest": ("IAH",),
        }
        if not regression:
            categories["departure"] = (LATE, ON_TIME)
        totals = [[5.0, 10.0], [5.0, 12.0], [5.0, 18.0]] if regression else [[4, 6], [4, 6], [6, 4]]
        tree = Tree(
            feature=np.array([schema.predictors.index("wind_speed"), -1, -1]),
            threshold=np.array([20.0, 0.0, 0.0]),
            negative=np.array([1, 0, 0]),
            positive=np.array([2, 0, 0]),
            default=np.array([False, False, False]),
            totals=np.array(totals, float),
            subsets={},
        )
        trees, laid = lay_out([tree], np.ones(1))
        self.model = ForestModel(
            Fields(schema, categories),
            Parameters(1, 128, "variance" if regression else "entropy"),
            trees,
            Leaves(laid, classification=not regression),
        )

    def ask(self, path: str, lines: Sequence[str] = ()) -> Any:
        assert all(line.endswith(",") for line in lines), "the target is not told"
        winds = [float(line.split(",")[7]) for line in lines]
        if path == "/predict":
            return [wind + 1 for wind in winds]
        if path == "/classificationDistribution":
            return [{LATE: wind / 40, ON_TIME: 1 - wind / 40} for wind in winds]
        assert path == "/feature/importance"
        return [0.1] * len(PREDICTORS)


@pytest.mark.parametrize("kind", [LatenessAct, DelayAct])
def test_forests_are_asked_before_they_learn(tmp_path: Path, kind: type[ForestAct]) -> None:
    regression = kind is DelayAct
    act = kind(flights(regression), n_live=150)
    assert len(act.live) == 150
    serving = Wind(schema_of(act, tmp_path), regression)
    assert act.measures() == {}
    assert "1 trees; the next flight: " in take(act, write_forest_pmml(serving.model), serving)
    judge_all(act)
    results = act.results()
    assert list(results["importances"]) == list(PREDICTORS)
    if regression:
        assert results["rmse"]["updated"] == pytest.approx(1.0)
        assert results["rmse"]["as_trained"] > 5
        assert act.measures()["mean absolute error"][1] == "1.00 min"
    else:
        assert results["auc"] == pytest.approx({"as_trained": 1.0, "updated": 1.0})
        assert results["accuracy"] == pytest.approx({"as_trained": 1.0, "updated": 1.0})
        assert results["log_loss"]["updated"] < results["log_loss"]["as_trained"]
    act.draw(tmp_path / "picture.png")
    assert (tmp_path / "picture.png").stat().st_size > 10_000


def test_flights_that_are_all_on_time_can_be_shown(tmp_path: Path) -> None:
    found = flights(regression=False)
    punctual = [line for line in found.live if line.endswith(ON_TIME)]
    act = LatenessAct(replace(found, live=punctual), n_live=None)
    serving = Wind(schema_of(act, tmp_path), regression=False)
    take(act, write_forest_pmml(serving.model), serving)
    judge_all(act)
    assert act.measures() == {}
    assert list(act.results()) == ["importances"]
    act.draw(tmp_path / "picture.png")


def test_the_live_events_are_told_as_a_panel_and_as_lines(tmp_path: Path) -> None:
    act = DelayAct(flights(regression=True), n_live=None)
    live = LiveEvents(act, done=50, started=0.0, seconds=2.0)
    assert live.lines() == ["50 of 200 live events, 25/s"]
    serving = Wind(schema_of(act, tmp_path), regression=True)
    take(act, write_forest_pmml(serving.model), serving)
    judge_all(act)
    [line] = live.lines()
    assert line.startswith("50 of 200 live events, 25/s; root mean squared error as trained ")
    console = Console(file=io.StringIO(), width=80)
    console.print(live.panel())
    assert isinstance(console.file, io.StringIO)
    shown = console.file.getvalue()
    assert "50/200  25/s" in shown
    assert "mean absolute error" in shown
