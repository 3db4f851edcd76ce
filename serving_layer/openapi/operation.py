"""Generates one operation of the OpenAPI document from a route and its docstring."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema
from werkzeug.routing import Rule

from serving_layer.access.roles import INGEST, role_of
from serving_layer.http.describe import (
    Content,
    Description,
    Parameter,
    Reply,
    Schema,
    description_of,
)
from serving_layer.http.v1 import PREFIX
from serving_layer.openapi.errors import errors_of
from serving_layer.request.idempotency import HEADER

View = Callable[..., Any]
Json = dict[str, Any]

_ARGUMENT = re.compile(r"<(?:(\w+):)?(\w+)>")
_REF = "#/components/schemas/{model}"
#: Descriptions of path arguments, by their converters.
_ARGUMENTS = {
    "": "One path segment, percent-encoded: a slash within it is `%2F`.",
    "segments": "One or more ids separated by `/`, each percent-encoded.",
    "items": "One or more of `id` or `id=strength` separated by `/`; `%3D` is an `=` in an id.",
}
_IDEMPOTENCY_KEY: Json = {
    "name": HEADER,
    "in": "header",
    "description": "A request that repeats one with the same key writes nothing.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
}


@dataclass(frozen=True)
class Route:
    """One method of one URL rule, with its view function."""

    rule: Rule
    method: str
    view: View

    @property
    def path(self) -> str:
        """Its path in OpenAPI's notation: ``/recommend/{user}``."""
        return _ARGUMENT.sub(r"{\2}", self.rule.rule)

    @property
    def described(self) -> Description:
        """Its description; an empty one if it has none."""
        return description_of(self.view) or Description()

    @property
    def tag(self) -> str:
        """Its group: ``v1``, or the name of its blueprint."""
        blueprint = self.rule.endpoint.partition(".")[0]
        return "v1" if self.rule.rule.startswith(f"{PREFIX}/") else blueprint

    @property
    def role(self) -> str:
        """The role that it requires."""
        return role_of(self.view, self.method)


class Schemas:
    """JSON schemas of all models in the descriptions, each defined once and referenced."""

    def __init__(self, routes: Iterable[Route]) -> None:
        models = {pair: None for route in routes for pair in _models(route.described)}
        self._references, definitions = models_json_schema([*models], ref_template=_REF)
        self.definitions: Json = definitions.get("$defs", {})

    def of(self, schema: Schema, mode: JsonSchemaMode) -> Mapping[str, Any]:
        """Return the schema, or a reference if it is a model."""
        return self._references[schema, mode] if isinstance(schema, type) else schema

    def content(self, content: Content, mode: JsonSchemaMode) -> Json:
        """Return the schemas of a content by media type."""
        return {kind: {"schema": self.of(schema, mode)} for kind, schema in content.items()}


def _models(described: Description) -> Iterator[tuple[type[BaseModel], JsonSchemaMode]]:
    body_content = described.body.content if described.body else {}
    for schema in body_content.values():
        if isinstance(schema, type):
            yield schema, "validation"
    for reply in described.replies:
        for schema in reply.content.values():
            if isinstance(schema, type):
                yield schema, "serialization"


def operation(route: Route, schemas: Schemas) -> Json:
    """Return one operation of the document."""
    described = route.described
    summary, text = _texts(route)
    result: Json = {
        "operationId": re.sub(r"\W+", "_", f"{route.method.lower()}{route.path}").rstrip("_"),
        "summary": summary,
        "tags": [route.tag],
        "parameters": [
            *_path_parameters(route.rule),
            *_query_parameters(described.query),
            *([_IDEMPOTENCY_KEY] if route.role == INGEST else []),
        ],
        "responses": _responses(route, schemas),
    }
    if text:
        result["description"] = text
    if described.body is not None:
        content = schemas.content(described.body.content, "validation")
        result["requestBody"] = {"required": described.body.required, "content": content}
    return result


def _texts(route: Route) -> tuple[str, str]:
    """Return summary and description: the docstring's first paragraph, and the rest."""
    text = inspect.getdoc(route.view) or f"{route.method} {route.path}"
    text = text.replace("``", "`")
    first, _, rest = text.partition("\n\n")
    return " ".join(first.split()), rest


def _path_parameters(rule: Rule) -> Iterator[Json]:
    for kind, name in _ARGUMENT.findall(rule.rule):
        yield {
            "name": name,
            "in": "path",
            "required": True,
            "description": _ARGUMENTS.get(kind, _ARGUMENTS[""]),
            "schema": {"type": "string", "minLength": 1},
        }


def _query_parameters(query: Iterable[Parameter] | type[BaseModel]) -> Iterator[Json]:
    for parameter in _parameters_of(query) if isinstance(query, type) else query:
        yield {
            "name": parameter.name,
            "in": "query",
            "description": parameter.description,
            "required": parameter.required,
            "schema": parameter.schema,
        }


def _parameters_of(model: type[BaseModel]) -> Iterator[Parameter]:
    model_schema = model.model_json_schema()
    required = model_schema.get("required", ())
    for name, schema in model_schema["properties"].items():
        parameter_schema = {
            key: value for key, value in schema.items() if key not in ("title", "description")
        }
        yield Parameter(name, schema["description"], parameter_schema, name in required)


def _responses(route: Route, schemas: Schemas) -> Json:
    described = route.described
    shared = errors_of(route.tag == "v1", described.body is not None, route.role == INGEST)
    return shared | {str(reply.status): _reply(reply, schemas) for reply in described.replies}


def _reply(reply: Reply, schemas: Schemas) -> Json:
    content = schemas.content(reply.content, "serialization")
    return {"description": reply.description} | ({"content": content} if content else {})
