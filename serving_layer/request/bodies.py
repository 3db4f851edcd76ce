"""Reads a request's body as lines of text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import orjson
from flask import g, request

from serving_layer.http.decoding import Budget, multipart_texts, plain_text, unpack
from serving_layer.http.errors import ApiError
from serving_layer.request.context import context

TEXT_TYPES = ("text/plain", "text/csv")
JSON = "application/json"
MULTIPART = "multipart/form-data"


def body_lines(optional: bool = False) -> list[str]:
    """Return the lines of the request's body, without blank ones.

    The body may be compressed by gzip or deflate.  Its content type determines the lines:

    ``text/plain``, ``text/csv``
        Lines end with LF or CRLF; a byte order mark is removed.
    ``application/json``
        An array of arrays: each inner array is one line.  Otherwise each line of the body is
        a JSON value: an array is an event (Oryx's rule) and stays JSON, a string or a number
        becomes its text.
    ``multipart/form-data``
        The lines of all parts in order; a part is text, or a gzip or ZIP file of text.

    Parameters
    ----------
    optional : bool
        Whether a body without lines is accepted and gives an empty list.

    Raises
    ------
    ApiError
        400 ``empty_body``, ``truncated_body``, ``bad_encoding``, ``bad_gzip``, ``bad_zip``,
        ``bad_json``, ``bad_multipart``, ``schema``; 413 ``body_too_large``, ``line_too_long``,
        ``too_many_parts``; 415 for another type or encoding.
    """
    numbered = [
        (number, line) for number, line in enumerate(_all_lines(optional), 1) if line.strip()
    ]
    if not numbered and not optional:
        raise ApiError(400, "empty_body", "the body holds no lines")
    return take_lines(numbered)


def take_lines(numbered: Sequence[tuple[int, str]]) -> list[str]:
    """Return the lines; keep their numbers in the body for :func:`line_number`.

    Raises
    ------
    ApiError
        413 ``line_too_long``.
    """
    limit = context().settings.input_topic.max_line_bytes
    for at, line in numbered:
        # UTF-8 has at most four bytes to a character, so most lines need not be encoded.
        if len(line) * 4 > limit and len(line.encode()) > limit:
            message = f"a line has more than {limit} bytes (input_topic.max_line_bytes)"
            raise ApiError(413, "line_too_long", message, line=at)
    g.line_numbers = [at for at, _ in numbered]
    return [line for _, line in numbered]


def body_bytes() -> bytes:
    """Return the complete request body, decompressed.

    Raises
    ------
    ApiError
        400 ``truncated_body``, ``bad_gzip``; 413 ``body_too_large``; 415 for an encoding other
        than gzip and deflate.
    """
    return _content(Budget(context().settings.serving.api.max_body_bytes))


def line_number(index: int) -> int | None:
    """Return the number, from 1, of a line in the body; `index` is its position in `body_lines`.

    Blank lines count, as in an editor.  None if the body was empty and the event is in the path.
    """
    numbers: list[int] | None = g.get("line_numbers")
    if numbers is None:
        return index + 1
    return numbers[index] if index < len(numbers) else None


def _all_lines(optional: bool) -> Iterator[str]:
    budget = Budget(context().settings.serving.api.max_body_bytes)
    data = _content(budget)
    if not data.strip() and optional:
        return iter(())
    kind = request.mimetype
    if kind in TEXT_TYPES:
        return _split(plain_text(data))
    if kind == JSON:
        return json_lines(plain_text(data))
    if kind == MULTIPART:
        boundary = request.mimetype_params.get("boundary", "")
        texts = multipart_texts(data, boundary, budget)
        return (line for text in texts for line in _split(text))
    if not data.strip():
        raise ApiError(400, "empty_body", "the body is empty")
    known = ", ".join((*TEXT_TYPES, JSON, MULTIPART))
    message = (
        f"the Content-Type is {kind or 'missing'}; send one of {known} "
        "(with curl: -H 'Content-Type: text/csv')"
    )
    raise ApiError(415, "unsupported_type", message)


def _content(budget: Budget) -> bytes:
    """Return the complete body, decompressed."""
    length = request.content_length or 0
    if length > budget.left:
        raise budget.exceeded()
    data = request.get_data(cache=False)
    if len(data) != length:
        message = f"Content-Length is {length}, but {len(data)} bytes came"
        raise ApiError(400, "truncated_body", message)
    encoding = request.headers.get("Content-Encoding", "").strip().lower()
    return unpack(data, encoding, budget)


def _split(text: str) -> Iterator[str]:
    """Split at LF only: an id may contain the other line separators of Unicode."""
    return (line.removesuffix("\r") for line in text.split("\n"))


def json_lines(text: str) -> Iterator[str]:
    """Yield the lines of a JSON body; raises ApiError for one that cannot be read."""
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return (_json_line(line, number) for number, line in enumerate(_split(text), 1))
    if isinstance(value, list) and value and all(isinstance(inner, list) for inner in value):
        return (_event_line(inner, number) for number, inner in enumerate(value, 1))
    return iter([_event_line(value, 1)])


def _json_line(line: str, number: int) -> str:
    if not line.strip():
        return ""
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        code = "bad_encoding" if "surrogate" in str(error) else "bad_json"
        raise ApiError(400, code, f"not JSON: {error}", line=number) from None
    return _event_line(value, number)


def _event_line(value: object, number: int) -> str:
    """Return an event's line: JSON for an array of scalars, text for a scalar."""
    if isinstance(value, str):
        if "\n" in value:
            raise ApiError(400, "schema", "a string holds a line break", line=number)
        return value
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return orjson.dumps(value).decode()
    if isinstance(value, list) and all(_is_scalar(item) for item in value):
        return orjson.dumps(value).decode()
    message = "an event is an array of strings, numbers and nulls, or the text of a line"
    raise ApiError(400, "schema", message, line=number)


def _is_scalar(value: object) -> bool:
    return value is None or (isinstance(value, (str, int, float)) and not isinstance(value, bool))
