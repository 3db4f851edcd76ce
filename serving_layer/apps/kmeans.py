"""K-means in the serving layer: which cluster an example belongs to, and how far away it is."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pyarrow as pa
from flask import Blueprint, Response

from common.apps.kmeans import read_model, schema_of
from common.example_columns import parse
from common.examples import parse_datum
from common.kmeans_payload import decode_update
from common.kmeans_pmml import KMeansModel, write_kmeans_pmml
from common.lines import LineError
from common.messages import MessageError
from serving_layer.example_routes import add_example_routes
from serving_layer.http import (
    LINES,
    NUMBER,
    NUMBERS,
    Form,
    body_lines,
    describe,
    model,
    reads,
    respond_value,
    respond_values,
)
from serving_layer.ingest import bad_line, refuse_bad_lines
from serving_layer.metrics import metrics
from serving_layer.v1.kmeans import resources

if TYPE_CHECKING:
    from collections.abc import Sequence

    from common.config import Settings
    from common.kmeans_clusters import Matrix
    from common.updates import ModelMessage

__all__ = ["Serving", "blueprint", "console", "resources"]


class Serving:
    """The clusters as they are now; an update replaces `model` whole.

    Attributes
    ----------
    model : KMeansModel
        What requests see; None before the first.
    """

    fraction_loaded = 1.0

    def __init__(self, settings: Settings) -> None:
        self.schema = schema_of(settings)
        self.model: KMeansModel | None = None

    def load(self, model: ModelMessage) -> None:
        """Take over a model in the place of the one before; raises MessageError."""
        self.model = read_model(model.text, self.schema)

    def apply(self, update: str, foreign: bool = False) -> None:
        """Replace one cluster; raises MessageError if that cannot be done."""
        found = decode_update(update)
        try:
            clusters = self.loaded.clusters.with_cluster(found.id, found.centre, found.count)
        except ValueError as error:
            message = f"k-means update of cluster {found.id}: {error}"
            raise MessageError(message) from error
        self.model = replace(self.loaded, clusters=clusters)

    def to_pmml(self) -> bytes:
        """Return the clusters as they are now, and the way from raw records to them."""
        return write_kmeans_pmml(self.loaded)

    @property
    def loaded(self) -> KMeansModel:
        """The model; raises MessageError where none has come yet."""
        if self.model is None:
            message = "an update came before any model"
            raise MessageError(message)
        return self.model

    def point(self, datum: str) -> Matrix:
        """Return one line's point, shape (1, d); raises ApiError 400 where it cannot be read."""
        try:
            example = parse_datum(datum, self.schema, self.schema.active)
        except LineError as error:
            raise bad_line(str(error)) from None
        return _counted(self.loaded.transformation.point(example))

    def points(self, lines: Sequence[str]) -> Matrix:
        """Return the points of lines, shape (n, d); raises ApiError 400 at the first bad one."""
        texts = pa.array(lines, pa.string())
        examples, reasons = parse(texts, self.schema, self.schema.active)
        refuse_bad_lines(reasons)
        return _counted(self.loaded.transformation.points(examples))


def _counted(found: tuple[Matrix, int]) -> Matrix:
    points, n_unseen = found
    metrics().unseen.inc(n_unseen)
    return points


def blueprint(settings: Settings) -> Blueprint:
    """Return the routes of k-means."""
    routes = Blueprint("kmeans", __name__)

    @routes.get("/assign/<datum>")
    @describe(reply=NUMBER)
    def assign(datum: str) -> Response:
        """Name the cluster whose centre is nearest to an example."""
        serving = model(Serving)
        clusters = serving.loaded.clusters
        return respond_value(clusters.ids[clusters.nearest(serving.point(datum))[0]])

    @routes.post("/assign")
    @reads
    @describe(body=LINES, reply=NUMBERS)
    def assign_lines() -> Response:
        """Name the nearest cluster of each example, in order."""
        serving = model(Serving)
        clusters = serving.loaded.clusters
        rows = clusters.nearest(serving.points(body_lines()))
        return respond_values([clusters.ids[row] for row in rows.tolist()])

    @routes.get("/distanceToNearest/<datum>")
    @describe(reply=NUMBER)
    def distance_to_nearest(datum: str) -> Response:
        """Tell the Euclidean distance from an example to the nearest centre."""
        serving = model(Serving)
        clusters, point = serving.loaded.clusters, serving.point(datum)
        return respond_value(float(clusters.distances(point, clusters.nearest(point))[0]))

    add_example_routes(routes, "/add")
    return routes


def console() -> list[Form]:
    """Return the rows of the console page."""
    return [
        Form("assign", "/assign/{example}"),
        Form("assign", "/assign", "POST", body="one example to a line", upload=True),
        Form("distanceToNearest", "/distanceToNearest/{example}"),
        Form("add", "/add", "POST", body="one example to a line", upload=True),
    ]
