"""The JSON resources of k-means."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from flask import Blueprint, Response
from pydantic import BaseModel, Field

from common.records.schema import InputSchema
from serving_layer.events.ingest import reads
from serving_layer.events.json_events import events_route
from serving_layer.events.records import Records, record_events, record_lines
from serving_layer.http.describe import describe
from serving_layer.http.json_replies import JSON, replies, reply
from serving_layer.http.v1 import PREFIX
from serving_layer.request.context import any_model
from serving_layer.request.json_requests import body, pointing

if TYPE_CHECKING:
    from common.config import Settings
    from serving_layer.apps.kmeans.model import Serving


class Assignment(BaseModel):
    """The cluster whose center is nearest to a record."""

    cluster: int = Field(description="Its id.")
    distance: float = Field(description="The Euclidean distance to its center.")


class Assignments(BaseModel):
    """One assignment for each record, in order."""

    assignments: list[Assignment]


def resources(settings: Settings) -> Blueprint:
    """Return the JSON resources of k-means."""
    routes = Blueprint("kmeans_v1", __name__, url_prefix=PREFIX)
    schema = InputSchema.from_settings(settings.input_schema)

    @routes.post("/assign")
    @reads
    @describe(body={JSON: Records}, reply=replies(Assignments))
    def assign() -> Response:
        """Assign each record to the cluster whose center is nearest."""
        asked = body(Records)
        serving = cast("Serving", any_model())
        clusters = serving.loaded.clusters
        with pointing("records"):
            points = serving.points(record_lines(asked, schema))
        rows = clusters.nearest(points)
        found = zip(rows.tolist(), clusters.distances(points, rows).tolist(), strict=True)
        assignments = [Assignment(cluster=clusters.ids[row], distance=far) for row, far in found]
        return reply(Assignments(assignments=assignments))

    events_route(routes, record_events(schema))
    return routes
