"""Records of features in JSON: objects by feature name, or arrays of all fields in order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import FailFast, Field, PlainValidator, RootModel, WithJsonSchema

from common.base.lines import join_line
from common.records.schema import InputSchema
from serving_layer.events.json_events import EventForm
from serving_layer.http.errors import ApiError
from serving_layer.request.json_requests import BodyModel, numbered

#: Records of one request.
MAX_RECORDS = 100_000

_VALUE = {"type": ["string", "number", "null"]}
_SCHEMA = {
    "description": "An object by feature name, in which null and what is left out are missing; "
    "or an array of all fields in order.",
    "anyOf": [
        {"type": "object", "additionalProperties": _VALUE},
        {"type": "array", "items": _VALUE},
    ],
}


def _checked(given: Any) -> dict[str, Any] | list[Any]:
    if not isinstance(given, (dict, list)):
        message = "a record is an object by feature name, or an array of all fields"
        raise ValueError(message)
    for value in given.values() if isinstance(given, dict) else given:
        if isinstance(value, (bool, dict, list)):
            message = "a value is a string, a number or null"
            raise ValueError(message)
    return given


Record = Annotated[dict[str, Any] | list[Any], PlainValidator(_checked), WithJsonSchema(_SCHEMA)]


class Records(BodyModel):
    """Records to be judged, each by itself."""

    records: Annotated[list[Record], Field(min_length=1, max_length=MAX_RECORDS), FailFast()]


class RecordEvent(RootModel[Record]):
    """A record to learn from."""


def record_events(schema: InputSchema) -> EventForm[RecordEvent]:
    """Return what an event is where events are records."""
    return EventForm(RecordEvent, lambda event: record_line(event.root, schema))


def record_lines(records: Records, schema: InputSchema) -> list[str]:
    """Return the line of each record; raises as :func:`record_line` does, with its number."""
    found = numbered(enumerate(records.records, 1), lambda record: record_line(record, schema))
    return [line for _, line in found]


def record_line(record: dict[str, Any] | Sequence[Any], schema: InputSchema) -> str:
    """Return a record as an input line.

    Raises
    ------
    ApiError
        400 ``schema`` for a feature that is not in the input schema.
    """
    if not isinstance(record, dict):
        return join_line([_text(value) for value in record])
    unknown = record.keys() - set(schema.names)
    if unknown:
        known = ", ".join(schema.names)
        message = f"there is no feature {min(unknown)!r}; the features are {known}"
        raise ApiError(400, "schema", message[:1000])
    return join_line([_text(record.get(name)) for name in schema.names])


def _text(value: str | float | None) -> str:
    return "" if value is None else str(value)
