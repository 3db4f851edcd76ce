"""Documents of other tools in the serving layer: any PMML, scored by PMML4S."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import orjson
from flask import Blueprint, Response, request

from serving_layer.apps.pmml import scores as pmml_scores
from serving_layer.apps.pmml.model import Serving
from serving_layer.http.decoding import plain_text
from serving_layer.routes import (
    LINES,
    MAP,
    RECORDS,
    ApiError,
    Form,
    body_bytes,
    body_lines,
    describe,
    model,
    reads,
    respond_map,
    respond_records,
)

if TYPE_CHECKING:
    from common.config import Settings


JSON = "application/json"
#: What ``/predict`` reads; JSON rows may be objects too.
ROWS = {
    **LINES,
    JSON: {
        "description": "An array of rows: objects by field name, or arrays of all inputs.",
        "type": "array",
        "items": {"type": ["object", "array"]},
    },
}


def blueprint(settings: Settings) -> Blueprint:
    """Return the routes."""
    routes = Blueprint("pmml", __name__)

    @routes.get("/predict/<line>")
    @describe(reply=RECORDS)
    def predict(line: str) -> Response:
        """Score one row."""
        return _scored([line])

    @routes.post("/predict")
    @reads
    @describe(body=ROWS, reply=RECORDS)
    def predict_lines() -> Response:
        """Score the body's rows: CSV, JSON arrays, or JSON objects by field name."""
        return _scored(_rows())

    @routes.get("/schema")
    @describe(reply=MAP)
    def schema() -> Response:
        """Show the document's input and output fields."""
        return respond_map(pmml_scores.schema(model(Serving).document))

    return routes


def console() -> list[Form]:
    """Return the rows of the console page."""
    return [
        Form("predict", "/predict/{row}"),
        Form("predict", "/predict", "POST", body="rows: CSV or JSON objects", upload=True),
        Form("schema", "/schema"),
    ]


def _rows() -> Sequence[object]:
    """Return the body's rows; JSON may be one document here, not a row to a line alone."""
    if request.mimetype != JSON:
        return body_lines()
    text = plain_text(body_bytes())
    try:
        found: Any = orjson.loads(text)
    except orjson.JSONDecodeError:
        found = [line for line in text.split("\n") if line.strip()]
    else:
        is_row = not isinstance(found, list) or any(not isinstance(v, (list, dict)) for v in found)
        found = [found] if is_row else found
    if not found:
        raise ApiError(400, "empty_body", "the body holds no rows")
    return list(found)


def _scored(given: Sequence[object]) -> Response:
    document = model(Serving).document
    return respond_records(document.evaluator.outputs, pmml_scores.scores(document, given))
