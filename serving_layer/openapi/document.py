"""Generates the OpenAPI 3.1 document of an application from its routes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from flask import Flask

import common
from common.config import Api
from serving_layer.access.roles import OPEN
from serving_layer.http.describe import description_of
from serving_layer.openapi.errors import ERRORS, error_schemas
from serving_layer.openapi.operation import Route, Schemas, operation

Json = dict[str, Any]

#: The security schemes, if authentication is configured.
_SCHEMES: Json = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "digest": {"type": "http", "scheme": "digest", "description": "RFC 7616 with SHA-256."},
}


def document(app: Flask, api: Api) -> Json:
    """Return the OpenAPI 3.1 document of all routes of an application.

    Parameters
    ----------
    app : Flask
        The application.
    api : Api
        ``serving.api``: the path prefix of the routes, and whether clients must log in.
    """
    routes = list(_routes(app))
    paths: dict[str, Json] = {}
    schemas = Schemas(routes)
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = operation(route, schemas)
    components = {"schemas": schemas.definitions | error_schemas(), "responses": ERRORS}
    if api.auth.file is not None:
        components["securitySchemes"] = _SCHEMES
        for route in routes:
            paths[route.path][route.method.lower()]["security"] = _security(route)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Gemsbok",
            "version": common.__version__,
            "description": "Queries to the model in memory, and new events for the next one.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "tags": _tags(routes),
        "servers": [{"url": api.context_path.rstrip("/") or "/"}],
        "paths": paths,
        "components": components,
    }


def undescribed(app: Flask) -> list[str]:
    """Return the routes without a description, as ``METHOD path``."""
    routes = [route for route in _routes(app) if description_of(route.view) is None]
    return [f"{route.method} {route.path}" for route in routes]


def _routes(app: Flask) -> Iterator[Route]:
    for rule in sorted(app.url_map.iter_rules(), key=lambda rule: rule.rule):
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
            yield Route(rule, method, app.view_functions[rule.endpoint])


def _tags(routes: Iterable[Route]) -> list[Json]:
    """Return the groups of routes; ``v1`` is first."""
    known = {
        "v1": "JSON resources; errors are problem details (RFC 9457).",
        "framework": "Health, metrics, the model as PMML, and pages.",
    }
    used = {route.tag for route in routes}
    families = sorted(used - known.keys())
    known |= {name: "Oryx's paths: CSV, or JSON by `Accept`." for name in families}
    order = [name for name in ("v1", *families, "framework") if name in used]
    return [{"name": name, "description": known[name]} for name in order]


def _security(route: Route) -> list[Json]:
    """Return the route's security requirement: its role by either scheme, or none."""
    return [] if route.role == OPEN else [{name: [route.role]} for name in _SCHEMES]
