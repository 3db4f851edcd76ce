"""How a route is described: the OpenAPI document is made of these, and of nothing else.

Beside the function that answers stands what it takes and gives::

    @routes.get("/recommend/<user>")
    @describe(query=[KNOWN, *PAGE], reply=ROWS)
    def recommend(user: str) -> Response:
        \"\"\"Recommend items to a user, without those he knows unless `considerKnownItems`.\"\"\"

Path and method come from the router, the text from the docstring, the errors from what all
routes share (:mod:`serving_layer.openapi.document`).  A parameter list or a content may be a
pydantic model: then the same model reads the request
(:mod:`serving_layer.request.json_requests`) and describes it.  A route without
this is in the document too, with its path and docstring alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic import BaseModel

#: JSON Schema, or the pydantic model that has it.
Schema = Mapping[str, Any] | type[BaseModel]
#: What is sent, by media type.
Content = Mapping[str, Schema]
#: Whether a route is quick: always, never, or when a function says so, which is given the served
#: model and the segments of the path after the first, for a request without a query string.
IsQuick = bool | Callable[..., bool]

STRING: Schema = {"type": "string"}

#: Lines of text in each form that ``body_lines`` reads.
LINES: Content = {
    "text/csv": STRING,
    "text/plain": STRING,
    "application/json": {
        "description": "One array of arrays, each an event; or one JSON value to a line.",
        "type": "array",
        "items": {"type": "array", "items": {"type": ["string", "number", "null"]}},
    },
    "multipart/form-data": {
        "description": "Parts of text, or gzip or ZIP files of text.",
        "type": "object",
        "properties": {"file": {"type": "string", "format": "binary"}},
    },
}

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Parameter:
    """A query parameter."""

    name: str
    description: str
    schema: Mapping[str, Any]
    required: bool = False


@dataclass(frozen=True)
class Body:
    """A request's body."""

    content: Content
    required: bool = True


@dataclass(frozen=True)
class Reply:
    """A reply; without content it is empty."""

    description: str
    content: Content = field(default_factory=dict)
    status: int = 200


DONE = Reply("It succeeded.")
SENT = Reply("Kafka has acknowledged every line.", status=204)


@dataclass(frozen=True)
class Description:
    """What a route takes and gives, and whether it is quick."""

    query: Sequence[Parameter] | type[BaseModel] = ()
    body: Body | None = None
    replies: Sequence[Reply] = (DONE,)
    quick: IsQuick = False


def describe(
    query: Sequence[Parameter] | type[BaseModel] = (),
    body: Body | Content | None = None,
    reply: Reply | Sequence[Reply] = DONE,
    *,
    quick: IsQuick = False,
) -> Callable[[F], F]:
    """Describe the decorated view function.

    Parameters
    ----------
    query : sequence of Parameter or pydantic model
        Its query parameters.
    body : Body or mapping from media type to schema, optional
        What it reads; a mapping is a required body.
    reply : Reply or sequence of Reply
        What it answers when it succeeds; several where that, or an error of its own, has
        several forms.
    quick : bool or callable
        Whether a GET may be answered without a thread of its own
        (:mod:`serving_layer.transport.quick`): it takes a fraction of a
        millisecond, whatever the size of the model, and waits for nothing that takes longer.
    """
    asked = Body(body) if isinstance(body, Mapping) else body
    answers = (reply,) if isinstance(reply, Reply) else tuple(reply)

    def mark(view: F) -> F:
        view.described = Description(query, asked, answers, quick)  # type: ignore[attr-defined]
        return view

    return mark


def description_of(view: Callable[..., Any]) -> Description | None:
    """Return the description of a view function; None where it has none."""
    found = getattr(view, "described", None)
    return found if isinstance(found, Description) else None
