"""Errors under ``/v1``: problem details, RFC 9457."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus

from flask import Response, request
from pydantic import BaseModel, Field

from serving_layer.http.errors import ApiError
from serving_layer.http.paths import sent_path
from serving_layer.http.v1 import PREFIX

PROBLEM_JSON = "application/problem+json"
_TYPE = "urn:problem-type:gemsbok:"


class Fault(BaseModel):
    """One thing that is wrong in a request."""

    detail: str = Field(description="What is wrong.")
    pointer: str | None = Field(
        None, description="Where in the body: a JSON Pointer as a fragment (RFC 6901)."
    )
    parameter: str | None = Field(None, description="Which query parameter.")


class Problem(BaseModel):
    """Why a request could not be answered."""

    type: str = Field(description="Identifies the kind of problem, as `code` does.")
    title: str = Field(description="The status in words.")
    status: int = Field(description="The HTTP status.")
    detail: str = Field(description="What was wrong and what would be right.")
    instance: str = Field(description="The path that was asked for, as it was sent.")
    code: str = Field(description="The kind of problem in one word, for programs.")
    request_id: str = Field(description="Finds the request in the server's log.")
    line: int | None = Field(None, description="The line of the body at fault, from 1.")
    errors: list[Fault] | None = Field(None, description="Each thing that is wrong.")


class InvalidError(ApiError):
    """400: the body or the parameters are not what their model says.

    Parameters
    ----------
    code : str
        Which error it is, for programs.
    message : str
        All of it in a sentence.
    faults : sequence of Fault
        Each thing that is wrong, and where.
    """

    def __init__(self, code: str, message: str, faults: Sequence[Fault]) -> None:
        super().__init__(400, code, message)
        self.faults = list(faults)


def concerns(target: str, context_path: str = "/") -> bool:
    """Tell whether errors at a request's target are problem details.

    Parameters
    ----------
    target : str
        The path as it was sent.
    context_path : str
        The path under which all routes lie.
    """
    prefix = context_path.rstrip("/") + PREFIX
    return target == prefix or target.startswith(f"{prefix}/")


def problem_response(error: ApiError, request_id: str) -> Response:
    """Return an error as problem details."""
    problem = problem_of(error, sent_path(request.environ), request_id)
    response = Response(problem, status=problem_status(error), mimetype=PROBLEM_JSON)
    response.headers.update(error.headers)
    return response


def problem_status(error: ApiError) -> int:
    """Return the HTTP status of an error."""
    return error.code or 500


def problem_of(error: ApiError, path: str, request_id: str) -> str:
    """Return the JSON document of an error; `path` is the one that was sent, still encoded."""
    status = problem_status(error)
    problem = Problem(
        type=_TYPE + error.error_code,
        title=HTTPStatus(status).phrase,
        status=status,
        detail=error.message,
        instance=path,
        code=error.error_code,
        request_id=request_id,
        line=error.line,
        errors=error.faults if isinstance(error, InvalidError) else None,
    )
    return problem.model_dump_json(exclude_none=True)
