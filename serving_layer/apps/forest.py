"""The random forest in the serving layer: predictions, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask import Blueprint, Response

from common.apps.forest import encoding_of, read_model, schema_of
from common.forest_payload import apply_update
from common.forest_pmml import write_forest_pmml
from common.messages import MessageError
from serving_layer.example_routes import add_example_routes
from serving_layer.forest_view import ForestView
from serving_layer.http import (
    LINES,
    NUMBER,
    NUMBERS,
    RECORDS,
    ROWS,
    WORD,
    WORDS,
    Form,
    body_lines,
    describe,
    model,
    reads,
    respond_records,
    respond_rows,
    respond_value,
    respond_values,
)
from serving_layer.v1.forest import resources

if TYPE_CHECKING:
    from common.config import Settings
    from common.updates import ModelMessage

__all__ = ["Serving", "blueprint", "console", "resources"]


class Serving:
    """The forest as it is now, its leaves moved on by updates."""

    fraction_loaded = 1.0

    def __init__(self, settings: Settings) -> None:
        self._schema = schema_of(settings)
        self._view: ForestView | None = None

    @property
    def view(self) -> ForestView:
        """What requests see; raises MessageError where no model has come yet."""
        if self._view is None:
            message = "there is no model yet"
            raise MessageError(message)
        return self._view

    def load(self, model: ModelMessage) -> None:
        """Take over a model in the place of the one before; raises MessageError."""
        found = read_model(model.text, self._schema)
        self._view = ForestView(found, encoding_of(found))

    def apply(self, update: str, foreign: bool = False) -> None:
        """Give a leaf its new total, or add a foreign change; raises MessageError."""
        apply_update(self.view.model, update, foreign)

    def to_pmml(self) -> bytes:
        """Return the forest with what its leaves have seen until now."""
        return write_forest_pmml(self.view.model)


def blueprint(settings: Settings) -> Blueprint:
    """Return the routes of the forest."""
    routes = Blueprint("forest", __name__)
    _prediction_routes(routes)
    _importance_routes(routes)
    add_example_routes(routes, "/train")
    return routes


def console() -> list[Form]:
    """Return the rows of the console page."""
    return [
        Form("predict", "/predict/{example}"),
        Form("predict", "/predict", "POST", body="one example to a line", upload=True),
        Form("classificationDistribution", "/classificationDistribution/{example}"),
        Form("feature/importance", "/feature/importance"),
        Form("feature/importance", "/feature/importance/{number}"),
        Form("train", "/train", "POST", body="one example to a line", upload=True),
    ]


def _prediction_routes(routes: Blueprint) -> None:
    @routes.get("/predict/<datum>")
    @describe(reply=WORD)
    def predict(datum: str) -> Response:
        """Predict the class, or the number, of an example; its target's field may be empty."""
        view = model(Serving).view
        return respond_value(view.predictions(view.score(datum))[0])

    @routes.post("/predict")
    @reads
    @describe(body=LINES, reply=WORDS)
    def predict_lines() -> Response:
        """Predict the class, or the number, of each example, in order."""
        view = model(Serving).view
        return respond_values(view.predictions(view.scores(body_lines())))

    @routes.get("/classificationDistribution/<datum>")
    @describe(reply=ROWS)
    def classification_distribution(datum: str) -> Response:
        """Tell the probability of each class of an example."""
        view = model(Serving).view
        classes = view.classes()
        return respond_rows(zip(classes, view.score(datum)[0].tolist(), strict=True))

    @routes.post("/classificationDistribution")
    @reads
    @describe(body=LINES, reply=RECORDS)
    def classification_distributions() -> Response:
        """Tell the probabilities of the classes, in their order, of each example."""
        view = model(Serving).view
        return respond_records(view.classes(), view.scores(body_lines()).tolist())


def _importance_routes(routes: Blueprint) -> None:
    @routes.get("/feature/importance")
    @describe(reply=NUMBERS)
    def importances() -> Response:
        """Tell how much each predictor matters, in the order of the input schema."""
        return respond_values(model(Serving).view.importances())

    @routes.get("/feature/importance/<number>")
    @describe(reply=NUMBER, quick=True)
    def importance(number: str) -> Response:
        """Tell how much one predictor matters; they are counted from 0."""
        return respond_value(model(Serving).view.importance(number))
