"""Routes of the pages for browsers: the console, the OpenAPI document, and Swagger UI.

Pages load nothing from other sites and have no inline scripts, so the content security policy
forbids both.  Swagger UI's files come from the package ``flask-swagger-ui``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import cast

from flask import Blueprint, Response, current_app, make_response, render_template, request

from common.base.paths import home
from serving_layer.api import Form
from serving_layer.http.describe import STRING, Reply, describe
from serving_layer.http.paths import not_found
from serving_layer.http.replies import json_reply
from serving_layer.openapi.document import document
from serving_layer.request.context import context

STATIC = Path(__file__).parent / "static"
CONSOLE_FILES = {"console.css": "text/css", "console.js": "text/javascript"}
DOCS_FILES = {"docs.css": "text/css", "docs.js": "text/javascript"}
SWAGGER_FILES = {"swagger-ui.css": "text/css", "swagger-ui-bundle.js": "text/javascript"}
CONTENT_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'self'"
)
#: Swagger UI's style sheet contains images as data URIs.
DOCS_POLICY = CONTENT_POLICY.replace("img-src 'self'", "img-src 'self' data:")

PAGE = Reply("A page.", {"text/html": STRING})
FILE = Reply("The file.", {"text/css": STRING, "text/javascript": STRING})


def add_pages(routes: Blueprint, forms: Sequence[Form]) -> None:
    """Add the pages' routes; `forms` are the rows of the family's console."""

    @routes.get("/")
    @routes.get("/index.html")
    @describe(reply=PAGE)
    def console() -> Response:
        """Show the console: a form for each kind of request."""
        page = render_template(
            "index.html",
            app=context().settings.app,
            root=request.script_root,
            forms=forms,
            picture=_has_picture(),
        )
        return for_browsers(make_response(page))

    routes.add_url_rule("/console/<name>", view_func=console_file)
    routes.add_url_rule("/demo/freshness.png", view_func=freshness)
    routes.add_url_rule("/openapi.json", view_func=openapi)
    routes.add_url_rule("/docs", view_func=docs)
    routes.add_url_rule("/docs/<name>", view_func=docs_file)


@describe(reply=FILE)
def console_file(name: str) -> Response:
    """Reply with the console's script or style sheet."""
    return for_browsers(_file(name, STATIC, CONSOLE_FILES))


@describe(reply=Reply("A picture.", {"image/png": {"type": "string", "format": "binary"}}))
def freshness() -> Response:
    """Reply with the picture that ``bin/gemsbok demo`` has drawn."""
    if not _has_picture():
        raise not_found()
    return Response(_picture().read_bytes(), mimetype="image/png")


@describe(reply=Reply("OpenAPI 3.1.", {"application/json": {"type": "object"}}))
def openapi() -> Response:
    """Reply with the description of all routes."""
    extensions = current_app.extensions
    if "gemsbok-openapi" not in extensions:
        extensions["gemsbok-openapi"] = document(current_app, context().settings.serving.api)
    return json_reply(extensions["gemsbok-openapi"])


@describe(reply=PAGE)
def docs() -> Response:
    """Show the description of all routes, to be read and tried."""
    page = render_template("docs.html", app=context().settings.app, root=request.script_root)
    return for_browsers(make_response(page), DOCS_POLICY)


@describe(reply=FILE)
def docs_file(name: str) -> Response:
    """Reply with a script or style sheet of the page."""
    if name in SWAGGER_FILES:
        return for_browsers(_file(name, swagger_folder(), SWAGGER_FILES))
    return for_browsers(_file(name, STATIC, DOCS_FILES))


@cache
def swagger_folder() -> Path:
    """Return the folder with Swagger UI's files."""
    return cast("Path", files("flask_swagger_ui") / "dist")


def for_browsers(response: Response, policy: str = CONTENT_POLICY) -> Response:
    """Add the headers for pages and their files."""
    response.headers["Cache-Control"] = "public"
    response.headers["X-Frame-Options"] = "SAMEORIGIN"
    response.headers["Referrer-Policy"] = "no-referrer"
    response.headers["Content-Security-Policy"] = policy
    return response


def _file(name: str, folder: Path, kinds: Mapping[str, str]) -> Response:
    if name not in kinds:
        raise not_found()
    return Response((folder / name).read_bytes(), mimetype=kinds[name])


def _has_picture() -> bool:
    """Return whether this layer belongs to the demo and the demo has drawn its picture."""
    return context().settings.id == "demo" and _picture().is_file()


def _picture() -> Path:
    return home() / "demo" / "freshness.png"
