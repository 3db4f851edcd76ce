"""Replies under ``/v1``: JSON of pydantic models."""

from __future__ import annotations

from flask import Response, request
from pydantic import BaseModel

from serving_layer.http.describe import Reply
from serving_layer.http.errors import ApiError
from serving_layer.http.parameters import finish_parameters

JSON = "application/json"


def replies(kind: type[BaseModel], status: int = 200) -> Reply:
    """Describe a reply by its model, whose docstring says what it is."""
    return Reply((kind.__doc__ or kind.__name__).partition("\n")[0], {JSON: kind}, status)


def reply(value: BaseModel) -> Response:
    """Reply with a model as JSON.

    Raises
    ------
    ApiError
        406 if ``Accept`` excludes JSON, 400 for a parameter that was not read.
    """
    finish_parameters()
    require_acceptable()
    return Response(value.model_dump_json(), mimetype=JSON)


def require_acceptable() -> None:
    """Raise 406 if ``Accept`` excludes JSON; before anything is written."""
    if request.accept_mimetypes and request.accept_mimetypes.best_match([JSON]) is None:
        message = f"nothing here can be sent as {request.headers['Accept']!r}; ask for {JSON}"
        raise ApiError(406, "not_acceptable", message)
