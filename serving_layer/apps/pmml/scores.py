"""What a request asks of a document of another tool: scores of rows, and its fields."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from serving_layer.apps.pmml.document import Document, RowError
from serving_layer.apps.pmml.evaluator import EvaluatorError, ScoreError
from serving_layer.http.errors import ApiError
from serving_layer.request.bodies import line_number


def scores(document: Document, given: Sequence[object]) -> list[list[Any]]:
    """Return the outputs of each row, in the order of ``document.evaluator.outputs``.

    Parameters
    ----------
    document : Document
        What scores them.
    given : sequence of str, list or dict
        See :meth:`Document.row`.

    Raises
    ------
    ApiError
        400 ``bad_row`` with the row's number, 400 ``cannot_score``, 503 ``evaluator``.
    """
    rows = []
    for index, row in enumerate(given):
        try:
            rows.append(document.row(row))
        except RowError as error:
            raise ApiError(400, "bad_row", str(error), line=line_number(index)) from None
    try:
        return document.score(rows)
    except ScoreError as error:
        raise ApiError(400, "cannot_score", str(error)) from error
    except EvaluatorError as error:
        raise ApiError(503, "evaluator", str(error)) from error


def schema(document: Document) -> dict[str, object]:
    """Return the document's model, its inputs in the order of a row, and its outputs."""
    return {
        "model": document.evaluator.element,
        "function": document.evaluator.function,
        "inputs": [
            {
                "name": field.name,
                "type": field.type,
                "kind": field.kind,
                "values": list(field.values),
            }
            for field in document.inputs
        ],
        "outputs": list(document.evaluator.outputs),
    }
