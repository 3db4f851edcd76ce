"""What a client is told when a request fails: one form for every error, never a traceback."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus

import orjson
from flask import Response, request
from markupsafe import escape
from werkzeug.exceptions import HTTPException

#: Seconds that a client is asked to wait before it tries again.
RETRY_SECONDS = 5

_CODES = {404: "not_found", 405: "method_not_allowed", 413: "body_too_large", 500: "internal"}
#: An error's page needs nothing but itself.
_PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
}
_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{status} {reason}</title></head>
<body><h1>{status} {reason}</h1><p>{message}</p><p>{path}: request {request_id}</p></body></html>
"""


class ApiError(HTTPException):
    """A request cannot be answered; raised anywhere below a route.

    Parameters
    ----------
    status : int
        HTTP status.
    code : str
        Which error it is, for programs: ``bad_parameter``, ``unknown_id``, …
    message : str
        What was wrong and what would be right, for people.
    line : int, optional
        Number of the body's line at fault, counted from 1.
    headers : mapping of str to str, optional
        Further response headers, such as ``Retry-After``.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        line: int | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = status
        self.error_code = code
        self.message = message
        self.line = line
        self.headers = dict(headers or {})

    def to_json(self, request_id: str) -> bytes:
        """Return the error's JSON document."""
        error: dict[str, object] = {"code": self.error_code, "message": self.message}
        if self.line is not None:
            error["line"] = self.line
        error["request_id"] = request_id
        return orjson.dumps({"error": error})

    def to_text(self) -> str:
        """Return the message as a line of text."""
        where = "" if self.line is None else f"line {self.line}: "
        return f"{where}{self.message}\n"

    def to_html(self, path: str, request_id: str) -> str:
        """Return a page for browsers."""
        return _PAGE.format(
            status=self.code,
            reason=HTTPStatus(self.code or 500).phrase,
            message=escape(self.to_text()),
            path=escape(path),
            request_id=escape(request_id),
        )


def unknown_id(kind: str, name: str) -> ApiError:
    """Return the 404 for an id that the model does not hold; `kind` is "user", "item", …."""
    return ApiError(404, "unknown_id", f"unknown {kind} {name!r}")


def from_http(error: HTTPException) -> ApiError:
    """Return an error of the framework (no such path, wrong method, …) in our form."""
    if isinstance(error, ApiError):
        return error
    status = error.code or 500
    code = _CODES.get(status, HTTPStatus(status).name.lower())
    headers = {name: value for name, value in error.get_headers() if name == "Allow"}
    return ApiError(status, code, error.description or HTTPStatus(status).phrase, headers=headers)


def error_response(error: ApiError, request_id: str) -> Response:
    """Return the error as JSON, text or HTML, whichever ``Accept`` prefers; JSON if no matter."""
    kinds = ("application/json", "text/plain", "text/csv", "text/html")
    kind = request.accept_mimetypes.best_match(kinds, kinds[0])
    if kind == "text/html":
        page = error.to_html(request.path, request_id)
        response = Response(page, mimetype=kind, headers=_PAGE_HEADERS)
    elif kind == "application/json":
        response = Response(error.to_json(request_id), mimetype=kind)
    else:
        response = Response(error.to_text(), mimetype="text/plain")
    response.status_code = error.code or 500
    response.headers.update(error.headers)
    return response
