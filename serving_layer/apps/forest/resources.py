"""The JSON resources of the random forest."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from flask import Blueprint, Response
from pydantic import BaseModel, Field

from common.records.schema import InputSchema
from serving_layer.apps.forest.view import ForestView
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
    from serving_layer.apps.forest.model import Serving


class Prediction(BaseModel):
    """What is predicted for a record."""

    value: str | float = Field(description="The most probable class, or the number.")
    probabilities: dict[str, float] | None = Field(
        None, description="Of each class; null in a regression."
    )


class Predictions(BaseModel):
    """One prediction for each record, in order."""

    predictions: list[Prediction]


class Importance(BaseModel):
    """How much a predictor matters to the forest."""

    feature: str
    importance: float


class Importances(BaseModel):
    """The importance of each predictor, in the order of the input schema."""

    importances: list[Importance]


def resources(settings: Settings) -> Blueprint:
    """Return the JSON resources of the forest."""
    routes = Blueprint("forest_v1", __name__, url_prefix=PREFIX)
    schema = InputSchema.from_settings(settings.input_schema)

    @routes.post("/predict")
    @reads
    @describe(body={JSON: Records}, reply=replies(Predictions))
    def predict() -> Response:
        """Predict the target of each record."""
        asked, view = body(Records), _view()
        with pointing("records"):
            scores = view.scores(record_lines(asked, schema))
        found = [Prediction(value=value) for value in view.predictions(scores)]
        if schema.is_classification:
            classes = view.classes()
            for prediction, row in zip(found, scores.tolist(), strict=True):
                prediction.probabilities = dict(zip(classes, row, strict=True))
        return reply(Predictions(predictions=found))

    @routes.get("/feature-importances")
    @describe(reply=replies(Importances))
    def importances() -> Response:
        """Tell how much each predictor matters."""
        found = zip(schema.predictors, _view().importances(), strict=True)
        rows = [Importance(feature=name, importance=value) for name, value in found]
        return reply(Importances(importances=rows))

    events_route(routes, record_events(schema))
    return routes


def _view() -> ForestView:
    return cast("Serving", any_model()).view
