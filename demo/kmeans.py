"""The demo of k-means: kinds of sensor readings, and how well they hold as more come in."""

from __future__ import annotations

import math
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from common.apps.kmeans.clusters import Matrix, Rows
from common.apps.kmeans.pmml import KMeansModel, read_kmeans_pmml
from common.config import InputSchema as SchemaTable
from common.records.columns import parse
from common.records.schema import InputSchema
from common.store.generations import Generation
from demo.act import Act
from demo.client import ServingClient
from demo.comparison import Pair, draw_both, named, new_figure, pair_of, row_of, save, windows
from demo.course import Scene
from demo.picture import FROZEN, UPDATED
from demo.shuttle import LICENCE, Readings
from demo.story import Story

N_PAST = 10_000
N_LIVE = 20_000
#: Readings of which the silhouette is taken; its cost grows with their square.
LATELY = 1000
CONF = """
[kmeans]
standardize = true

[kmeans.hyperparams]
k = [4, 10]

[ml.eval]
candidates = 4
hyperparam_search = "grid"

[input_schema]
feature_names = {names}
ignored_features = ["anomaly"]
categorical_features = []
"""


class KMeansAct(Act):
    """Sensor readings as clusters.

    Parameters
    ----------
    readings : Readings
        The data.
    n_live : int or None
        Live events at most; `N_LIVE` if None.
    """

    def __init__(self, readings: Readings, n_live: int | None) -> None:
        self.past = readings.lines[:N_PAST]
        self.live = readings.lines[N_PAST:][: n_live or N_LIVE]
        names = list(readings.columns)
        self.scene = Scene("kmeans", "/add", "readings", CONF.format(names=names))
        table = SchemaTable(
            feature_names=names, ignored_features=["anomaly"], categorical_features=[]
        )
        self._schema = InputSchema.from_settings(table)
        self.story = Story(
            f"Gemsbok clusters {len(readings.lines):,} readings of a space shuttle's sensors",
            LICENCE,
            f"The first {len(self.past):,} train clusters, their number found by a search; then "
            f"{len(self.live):,} more come live. Each is judged by the clusters as trained, and "
            "by those that have moved with the readings before it.",
        )
        self._frozen_rows: Rows = np.empty(len(self.live), np.int64)
        self._updated_rows: Rows = np.empty(len(self.live), np.int64)
        self._distances: Matrix = np.empty((len(self.live), 2))
        self._n_judged = 0

    def open(self, generation: Generation, serving: ServingClient) -> str:
        """Read the clusters as trained."""
        self._serving = serving
        self._trained = self._now = read_kmeans_pmml(generation.model_text())
        examples, _ = parse(pa.array(self.live), self._schema, self._schema.active)
        self._points, _ = self._trained.transformation.points(examples)
        [cluster] = serving.ask("/assign", self.live[:1])
        return f"{len(self._trained.clusters)} clusters; a new reading belongs to {cluster}"

    def judge(self, part: slice, pool: ThreadPoolExecutor) -> None:
        """Find the nearest clusters, as trained and as served before these events."""
        self._now = read_kmeans_pmml(self._serving.pmml())
        for column, (model, rows) in enumerate(
            ((self._trained, self._frozen_rows), (self._now, self._updated_rows))
        ):
            points = self._points[part]
            rows[part] = nearest = model.clusters.nearest(points)
            self._distances[part, column] = model.clusters.distances(points, nearest)
        self._n_judged = part.stop

    def close(self) -> None:
        """Read the clusters as they are in the end."""
        self._now = read_kmeans_pmml(self._serving.pmml())

    def measures(self) -> Mapping[str, tuple[str, str, str]]:
        """Return mean distance, silhouette and sizes."""
        n_judged = self._n_judged
        if not n_judged:
            return {}
        lately = slice(max(0, n_judged - LATELY), n_judged)
        before, after = self._silhouettes(lately)
        return {
            "distance to the nearest center": row_of(self._mean_distances(), "{:.3f}"),
            f"silhouette of the last {LATELY:,}": (_text(before), _text(after), ""),
            "clusters": (_sizes(self._trained), _sizes(self._now), ""),
        }

    def results(self) -> dict[str, Any]:
        """Return distances, silhouettes and sizes."""
        return {
            "distance": named(self._mean_distances()),
            "silhouette": named(self._silhouettes(slice(0, self._n_judged))),
            "sizes": {
                "as_trained": self._trained.clusters.counts.tolist(),
                "updated": self._now.clusters.counts.tolist(),
            },
        }

    def draw(self, path: Path) -> None:
        """Write cluster sizes, and both silhouettes over the stream."""
        figure, (sizes, silhouettes) = new_figure(2, (1, 1.4))
        trained, now = self._trained.clusters, self._now.clusters
        places = np.arange(len(trained))
        sizes.bar(places, now.counts, color=UPDATED, label="updated live")
        sizes.bar(places, trained.counts, color=FROZEN, label="as trained")
        sizes.set_yscale("log")
        sizes.set_xticks(places, [str(id_) for id_ in trained.ids])
        sizes.set_xlabel("cluster")
        sizes.set_ylabel("readings")
        sizes.legend(frameon=False)
        sizes.set_title("Cluster sizes", loc="left", fontweight="bold")
        draw_both(silhouettes, windows(self._n_judged), self._silhouettes)
        silhouettes.set_ylabel("silhouette")
        silhouettes.set_title("Shuttle: how well the clusters hold", loc="left", fontweight="bold")
        save(figure, path)

    def _mean_distances(self) -> Pair:
        return pair_of(self._distances[: self._n_judged].mean(axis=0))

    def _silhouettes(self, part: slice) -> Pair:
        """Return the silhouette of both models' clusters over at most `LATELY` readings."""
        step = max(1, (part.stop - part.start) // LATELY)
        chosen = slice(part.start, part.stop, step)
        points = self._points[chosen]
        return (
            _silhouette(points, self._frozen_rows[chosen]),
            _silhouette(points, self._updated_rows[chosen]),
        )


def _silhouette(points: Matrix, rows: Rows) -> float:
    """Return the mean silhouette; NaN where all or none of the points are in one cluster."""
    from sklearn.metrics import silhouette_score

    n_clusters = len(np.unique(rows))
    if not 1 < n_clusters < len(points):
        return math.nan
    return float(silhouette_score(points, rows))


def _sizes(model: KMeansModel) -> str:
    counts = sorted(model.clusters.counts.tolist(), reverse=True)
    return "/".join(f"{count / sum(counts):.0%}" for count in counts[:4])


def _text(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.3f}"
