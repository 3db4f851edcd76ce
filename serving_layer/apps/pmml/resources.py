"""The JSON resources of a document of another tool."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from flask import Blueprint, Response
from pydantic import BaseModel, Field

from serving_layer.apps.pmml.scores import schema, scores
from serving_layer.events.ingest import reads
from serving_layer.events.records import Records
from serving_layer.http.describe import describe
from serving_layer.http.json_replies import JSON, replies, reply
from serving_layer.http.v1 import PREFIX
from serving_layer.request.context import any_model
from serving_layer.request.json_requests import body, pointing

if TYPE_CHECKING:
    from common.config import Settings
    from serving_layer.apps.pmml.document import Document
    from serving_layer.apps.pmml.model import Serving

Scalar = str | float | bool | None


class Scores(BaseModel):
    """For each record, in order, the document's outputs by name."""

    scores: list[dict[str, Scalar]]


class InputField(BaseModel):
    """A field of a record."""

    name: str
    type: str = Field(description="PMML's data type.")
    kind: str = Field(description="PMML's operational type.")
    values: list[str] = Field(description="The valid values, where the document lists them.")


class DocumentSchema(BaseModel):
    """What the document takes and gives."""

    model: str = Field(description="The element of its outermost model.")
    function: str | None = Field(description="PMML's mining function.")
    inputs: list[InputField]
    outputs: list[str]


def resources(settings: Settings) -> Blueprint:
    """Return the JSON resources of a document."""
    routes = Blueprint("pmml_v1", __name__, url_prefix=PREFIX)

    @routes.post("/score")
    @reads
    @describe(body={JSON: Records}, reply=replies(Scores))
    def score() -> Response:
        """Score each record."""
        asked, document = body(Records), _document()
        with pointing("records"):
            found = scores(document, asked.records)
        rows: list[dict[str, Any]] = [
            dict(zip(document.evaluator.outputs, row, strict=True)) for row in found
        ]
        return reply(Scores(scores=rows))

    @routes.get("/schema")
    @describe(reply=replies(DocumentSchema))
    def fields() -> Response:
        """Show the document's input and output fields."""
        return reply(DocumentSchema.model_validate(schema(_document())))

    return routes


def _document() -> Document:
    return cast("Serving", any_model()).document
