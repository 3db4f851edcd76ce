"""``POST /v1/events``: many events in one request, all of them written or none."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Generic, Protocol, TypeVar, cast

from flask import Blueprint, Response, request
from pydantic import BaseModel, FailFast, Field, create_model

from serving_layer.events.ingest import send_events
from serving_layer.http.describe import STRING, describe
from serving_layer.http.errors import ApiError
from serving_layer.http.json_replies import JSON, replies, reply, require_acceptable
from serving_layer.request.bodies import body_bytes, take_lines
from serving_layer.request.json_requests import BodyModel, numbered, parsed, pointing, require_json

if TYPE_CHECKING:
    import pyarrow as pa

#: One JSON value to a line.
NDJSON = "application/x-ndjson"
#: Events of one request.
MAX_EVENTS = 100_000

E = TypeVar("E", bound=BaseModel)


class Accepted(BaseModel):
    """How many events Kafka has acknowledged: all of the request's."""

    accepted: int


@dataclass(frozen=True)
class EventForm(Generic[E]):
    """What an event of a family is.

    Attributes
    ----------
    kind : type
        The model of one event.
    line : callable
        Returns an event's line for the input topic; raises ApiError where it cannot.
    complete : callable or None
        As for :func:`serving_layer.events.ingest.send_events`.
    """

    kind: type[E]
    line: Callable[[E], str]
    complete: Callable[[pa.RecordBatch], Sequence[str]] | None = None


class _Many(Protocol):
    """A body with several events."""

    events: list[Any]


def events_route(routes: Blueprint, form: EventForm[E]) -> None:
    """Add ``POST /events`` to a family's resources."""
    many = _many(form.kind)

    @routes.post("/events")
    @describe(body={JSON: many, NDJSON: STRING}, reply=replies(Accepted))
    def events() -> Response:
        """Send events to the input topic.

        As JSON, or as lines that are each the JSON of one event.  When the reply comes, Kafka
        has acknowledged all of them; where one is bad, none is sent.
        """
        require_acceptable()
        if request.mimetype == NDJSON:
            lines = list(numbered(_from_lines(form.kind, body_bytes()), form.line))
            send_events(take_lines(lines), form.complete)
        else:
            require_json()
            found = cast("_Many", parsed(many, body_bytes())).events
            with pointing("events"):
                lines = list(numbered(enumerate(found, 1), form.line))
                send_events(take_lines(lines), form.complete)
        return reply(Accepted(accepted=len(lines)))


def _many(kind: type[BaseModel]) -> type[BaseModel]:
    """Make the model of a body with several events."""
    several = Annotated[list[kind], Field(min_length=1, max_length=MAX_EVENTS), FailFast()]  # type: ignore[valid-type]
    doc = "Events; all of them are written, or none."
    return create_model("Events", __base__=BodyModel, __doc__=doc, events=(several, ...))


def _from_lines(kind: type[E], data: bytes) -> Iterator[tuple[int, E]]:
    """Read one event from each line that is not blank, with the line's number."""
    count = 0
    for at, line in enumerate(io.BytesIO(data), 1):
        if not line.strip():
            continue
        count += 1
        if count > MAX_EVENTS:
            raise ApiError(400, "schema", f"more than {MAX_EVENTS:,} events; send fewer at once")
        try:
            yield at, parsed(kind, line)
        except ApiError as error:
            error.line = at
            raise
    if not count:
        raise ApiError(400, "empty_body", "the body holds no events")
