"""K-means in the serving layer: which cluster an example belongs to, and how far away it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask import Blueprint, Response

from serving_layer.apps.kmeans.model import Serving
from serving_layer.events.example_routes import add_example_routes
from serving_layer.routes import (
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

if TYPE_CHECKING:
    from common.config import Settings


def blueprint(settings: Settings) -> Blueprint:
    """Return the routes of k-means."""
    routes = Blueprint("kmeans", __name__)

    @routes.get("/assign/<datum>")
    @describe(reply=NUMBER)
    def assign(datum: str) -> Response:
        """Name the cluster whose center is nearest to an example."""
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
        """Tell the Euclidean distance from an example to the nearest center."""
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
