"""What routes use: the request's model, its parameters and body, and the forms of a reply.

A family's route is a function of these::

    @routes.get("/similarity/<segments:items>")
    def similarity(items: list[str]) -> Response:
        page = paging()
        return respond_rows(model(Serving).similar(items, page))

    @routes.post("/ingest")
    def ingest() -> Response:
        return send_events([normalise(line) for line in body_lines()])

A read-only serving layer answers 403 to every POST, PUT, PATCH and DELETE before its body is
looked at, except where the route is marked with :func:`reads` (a POST that only asks).

What a route takes and gives is said beside it (:mod:`serving_layer.http.describe`)::

    @routes.get("/similarity/<segments:items>")
    @describe(query=PAGE, reply=ROWS)

One that only looks something up, always or at times, says so too (``quick``), and takes no thread
(:mod:`serving_layer.transport.quick`).

A family's module may also offer ``console() -> list[Form]``, the rows of its console page, and
``resources(settings) -> Blueprint``, its JSON resources, which are found under ``/v1``
(:mod:`serving_layer.http.v1`).

Paths
-----
A path is split at ``/`` *before* it is percent-decoded, so ``a%2Fb`` is one segment with the id
``a/b`` (:mod:`serving_layer.http.paths`).  Converters for rules:

``<name>``
    One segment, decoded: ``str``.
``<segments:name>``
    One or more segments: ``list[str]``.
``<items:name>``
    One or more segments ``id`` or ``id=value``: ``list[tuple[str, float]]``, value 1.0 if
    absent.  The last literal ``=`` separates; an ``=`` that belongs to the id is sent as ``%3D``.

An empty segment matches none of them: ``//`` is 404.  A rule that ends with a slash does not
match without it, and the other way round.
"""

from __future__ import annotations

from serving_layer.api import Form
from serving_layer.events.ingest import reads, send_events
from serving_layer.http.describe import LINES, SENT, Body, Parameter, Reply, describe
from serving_layer.http.errors import ApiError, unknown_id
from serving_layer.http.parameters import (
    PAGE,
    RESCORER,
    Page,
    flag,
    paging,
    rescorer_params,
    switch,
)
from serving_layer.http.replies import (
    COUNTS,
    IDS,
    MAP,
    NUMBER,
    NUMBERS,
    RECORDS,
    ROWS,
    WORD,
    WORDS,
    respond_ids,
    respond_map,
    respond_records,
    respond_rows,
    respond_value,
    respond_values,
)
from serving_layer.request.bodies import body_bytes, body_lines, line_number
from serving_layer.request.context import Context, ModelSource, context, model

__all__ = [
    "COUNTS",
    "IDS",
    "LINES",
    "MAP",
    "NUMBER",
    "NUMBERS",
    "PAGE",
    "RECORDS",
    "RESCORER",
    "ROWS",
    "SENT",
    "WORD",
    "WORDS",
    "ApiError",
    "Body",
    "Context",
    "Form",
    "ModelSource",
    "Page",
    "Parameter",
    "Reply",
    "body_bytes",
    "body_lines",
    "context",
    "describe",
    "flag",
    "line_number",
    "model",
    "paging",
    "reads",
    "rescorer_params",
    "respond_ids",
    "respond_map",
    "respond_records",
    "respond_rows",
    "respond_value",
    "respond_values",
    "send_events",
    "switch",
    "unknown_id",
]
