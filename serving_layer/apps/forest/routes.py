"""The random forest in the serving layer: predictions, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask import Blueprint, Response

from serving_layer.apps.forest.model import Serving
from serving_layer.events.example_routes import add_example_routes
from serving_layer.routes import (
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

if TYPE_CHECKING:
    from common.config import Settings


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
