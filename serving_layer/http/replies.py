"""The forms of a reply: CSV by default, JSON for those who ask for it."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson
from flask import Response, request

from serving_layer.http.describe import STRING, Reply, Schema
from serving_layer.http.errors import ApiError
from serving_layer.http.lean import LeanResponse
from serving_layer.http.parameters import finish_parameters

CSV = "text/csv"
TEXT = "text/plain"
JSON = "application/json"


def _described(text: str, json: Schema) -> Reply:
    return Reply(text, {CSV: STRING, TEXT: STRING, JSON: json})


def _rows(text: str, name: str) -> Reply:
    row = {
        "type": "object",
        "required": ["id", name],
        "properties": {"id": STRING, name: {"type": "number"}},
    }
    return _described(text, {"type": "array", "items": row})


#: Descriptions of what the functions below reply with.
ROWS = _rows("Lines `id,value`, or objects in JSON.", "value")
COUNTS = _rows("Lines `id,count`, or objects in JSON.", "count")
IDS = _described("Ids, one to a line.", {"type": "array", "items": STRING})
NUMBERS = _described("Numbers, one to a line.", {"type": "array", "items": {"type": "number"}})
WORDS = _described("Words or numbers, one to a line.", {"type": "array", "items": {}})
NUMBER = _described("A number.", {"type": "number"})
WORD = _described("A word or a number.", {"type": ["string", "number"]})
MAP = _described("Lines `key,value`, or a JSON object.", {"type": "object"})
RECORDS = _described(
    "Lines of values, or objects in JSON.", {"type": "array", "items": {"type": "object"}}
)


def respond_rows(rows: Iterable[tuple[str, Any]], name: str = "value") -> Response:
    """Reply with (id, number) rows: ``id,number`` lines, or ``{"id": …, name: number}``.

    Parameters
    ----------
    rows : iterable of (str, number)
        In the order of the reply; NumPy scalars are written in their own precision.
    name : str
        What JSON calls the number: ``value``, or ``count`` for counts.
    """
    kind = _reply_type((CSV, TEXT, JSON))
    if kind == JSON:
        return json_reply([{"id": row_id, name: number} for row_id, number in rows])
    return _text(kind, _csv(rows))


def respond_ids(ids: Iterable[str]) -> Response:
    """Reply with ids: one to a line, quoted where CSV needs it, or a JSON array."""
    kind = _reply_type((CSV, TEXT, JSON))
    if kind == JSON:
        return json_reply(list(ids))
    return _text(kind, _csv((row_id,) for row_id in ids))


def respond_values(values: Iterable[Any]) -> Response:
    """Reply with numbers or words in order: one to a line, or a JSON array."""
    kind = _reply_type((CSV, TEXT, JSON))
    if kind == JSON:
        return json_reply(list(values))
    return _text(kind, _csv((value,) for value in values))


def respond_value(value: Any) -> Response:
    """Reply with one number or word: its bare text, or JSON."""
    kind = _reply_type((TEXT, CSV, JSON))
    return json_reply(value) if kind == JSON else _text(kind, str(value))


def respond_records(names: Sequence[str], rows: Iterable[Sequence[Any]]) -> Response:
    """Reply with rows of several values: lines in the order of `names`, or objects by name.

    None is an empty field, and null.
    """
    kind = _reply_type((CSV, TEXT, JSON))
    if kind == JSON:
        return json_reply([dict(zip(names, row, strict=True)) for row in rows])
    return _text(kind, _csv(rows))


def respond_map(values: Mapping[str, Any]) -> Response:
    """Reply with a map: a JSON object, or ``key,value`` lines for those who ask for text."""
    kind = _reply_type((JSON, CSV, TEXT))
    if kind == JSON:
        return json_reply(dict(values))
    return _text(kind, _csv(values.items()))


def json_reply(value: Any) -> Response:
    """Reply with JSON whatever is asked for."""
    return LeanResponse(orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY), mimetype=JSON)


def _reply_type(offers: Sequence[str]) -> str:
    """Choose the reply's media type by ``Accept``; the first of `offers` where all are alike."""
    finish_parameters()
    accept = request.environ.get("HTTP_ACCEPT", "")
    if accept in ("", "*/*"):
        return offers[0]
    if "text/html" in accept:
        # A browser would offer to save text/csv as a file.
        offers = (TEXT, *offers)
    best = request.accept_mimetypes.best_match(offers)
    if best is None:
        message = f"nothing here can be sent as {accept!r}; ask for {', '.join(sorted(offers))}"
        raise ApiError(406, "not_acceptable", message)
    return best


def _csv(rows: Iterable[Sequence[Any]]) -> str:
    """Return lines; of a number the shortest text that reads back as the same in its precision."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def _text(kind: str, text: str) -> Response:
    return LeanResponse(text, mimetype=kind)
