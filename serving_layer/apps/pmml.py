"""Documents of other tools in the serving layer: any PMML, scored by PMML4S."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import orjson
from flask import Blueprint, Response, request

from common.messages import MessageError
from common.pmml import PmmlError
from serving_layer import pmml_scores
from serving_layer.decoding import plain_text
from serving_layer.evaluator import EvaluatorError
from serving_layer.http import (
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
from serving_layer.pmml_document import Document
from serving_layer.v1.pmml import resources

if TYPE_CHECKING:
    from common.config import Settings
    from common.updates import ModelMessage


__all__ = ["Serving", "blueprint", "console", "resources"]

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


class Serving:
    """The newest document."""

    fraction_loaded = 1.0
    document: Document

    def __init__(self, settings: Settings) -> None:
        self._settings = settings.section("pmml")

    def load(self, model: ModelMessage) -> None:
        """Check and load a document; raises MessageError if it is refused."""
        try:
            self.document = Document.load(model.text, self._settings)
        except (PmmlError, EvaluatorError) as error:
            raise MessageError(str(error)) from error

    def apply(self, update: str, foreign: bool = False) -> None:
        """Raise MessageError: a document does not learn."""
        message = "a document of another tool takes no updates"
        raise MessageError(message)

    def to_pmml(self) -> bytes:
        """Return the document itself."""
        return self.document.text.encode()


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
