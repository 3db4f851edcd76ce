"""The error responses that all routes share, for the OpenAPI document."""

from __future__ import annotations

from typing import Any

from serving_layer.http.problem import PROBLEM_JSON, Problem

Json = dict[str, Any]

_ALWAYS = (400, 401, 403, 404, 406, 414, 421, 429, 431, 500, 503)
#: Errors of the HTTP server itself, which have no body.
_EMPTY = (414, 431)
_WITH_BODY = (408, 411, 413, 415)
_WHEN_WRITING = (409,)
_TEXTS = {
    400: "A parameter, the path or the body is not what it must be.",
    401: "No name and secret, or wrong ones.",
    403: "The serving layer is read-only, or the caller may not do this.",
    404: "Unknown path, or an id that the model does not hold.",
    406: "None of the media types in `Accept` can be sent.",
    408: "The body took too long.",
    409: "The `Idempotency-Key` stands for another request, or for one that is not finished.",
    411: "The body has no Content-Length.",
    413: "The body, a line of it or their number is too large.",
    414: "The path and the query are too long; put ids into the body of a batch.",
    415: "A media type or an encoding that is not read here.",
    421: "The name in `Host` is not one of this service's (`serving.api.allowed_hosts`).",
    429: "Too many requests; `Retry-After` says when to come again.",
    431: "The headers are too large.",
    500: "Something failed; the log has it under the request's id.",
    503: "No model yet, too much to do, or no broker; `Retry-After` says when to come again.",
}
_FIRST_FORM: Json = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "message", "request_id"],
            "properties": {
                "code": {"type": "string"},
                "message": {"type": "string"},
                "line": {"type": "integer", "minimum": 1},
                "request_id": {"type": "string"},
            },
        }
    },
}


def _response(status: int, problem: bool) -> Json:
    if status in _EMPTY:
        return {"description": _TEXTS[status]}
    content: Json = {PROBLEM_JSON: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    if not problem:
        text = {"schema": {"type": "string"}}
        json = {"schema": {"$ref": "#/components/schemas/Error"}}
        content = {"application/json": json, "text/plain": text, "text/html": text}
    return {"description": _TEXTS[status], "content": content}


def _name(status: int, problem: bool) -> str:
    """Return the name of an error response in the document."""
    return f"Problem{status}" if problem else f"Error{status}"


#: Every error response in both forms, by name.
ERRORS: Json = {
    _name(status, problem): _response(status, problem)
    for status in _TEXTS
    for problem in (False, True)
}


def error_schemas() -> Json:
    """Return the schemas of the two forms of an error, by name."""
    schema = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    return {**schema.pop("$defs", {}), "Error": _FIRST_FORM, "Problem": schema}


def errors_of(problem: bool, has_body: bool, writes: bool) -> Json:
    """Return references to the error responses of one operation, by status.

    Parameters
    ----------
    problem : bool
        Whether errors are problem details (RFC 9457) or have Oryx's form.
    has_body, writes : bool
        Whether the operation reads a body, and whether it writes.
    """
    statuses = {*_ALWAYS}
    statuses |= {*_WITH_BODY} if has_body else set()
    statuses |= {*_WHEN_WRITING} if writes else set()
    return {
        str(status): {"$ref": f"#/components/responses/{_name(status, problem)}"}
        for status in sorted(statuses)
    }
