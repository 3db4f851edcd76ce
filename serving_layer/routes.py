"""The framework's routes: health, metrics, the model's PMML, and the console."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from flask import Blueprint, Response, make_response, render_template, request
from lxml import etree
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from common.paths import home
from serving_layer.console import Form
from serving_layer.context import any_model, context, missing, pinned
from serving_layer.errors import RETRY_SECONDS, ApiError
from serving_layer.metrics import metrics
from serving_layer.parameters import finish_parameters, flag
from serving_layer.paths import not_found
from serving_layer.replies import json_reply

STATIC = Path(__file__).parent / "console" / "static"
STATIC_FILES = {"console.css": "text/css", "console.js": "text/javascript"}
CONTENT_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'self'"
)


def blueprint(forms: Sequence[Form]) -> Blueprint:
    """Return the routes; `forms` are the rows of the family's console."""
    routes = Blueprint("framework", __name__)
    routes.add_url_rule("/livez", view_func=live)
    routes.add_url_rule("/ready", view_func=ready)
    routes.add_url_rule("/readyz", view_func=ready)
    routes.add_url_rule("/status", view_func=status)
    routes.add_url_rule("/metrics", view_func=scrape)
    routes.add_url_rule("/model.pmml", view_func=pmml)
    routes.add_url_rule("/console/<name>", view_func=console_file)
    routes.add_url_rule("/demo/freshness.png", view_func=freshness)

    def console() -> Response:
        return console_page(forms)

    routes.add_url_rule("/", view_func=console)
    routes.add_url_rule("/index.html", view_func=console)
    return routes


def live() -> Response:
    """Say that the process answers; nothing else is asked."""
    return Response()


def ready() -> Response:
    """Reply 200 if queries can be answered, 503 with the reason if not."""
    reason = _not_ready()
    if reason is not None:
        headers = {"Retry-After": str(RETRY_SECONDS)}
        raise ApiError(503, "not_ready", reason, headers=headers)
    return Response()


def _not_ready() -> str | None:
    if context().draining.is_set():
        return "this process is stopping"
    return missing(pinned().model)


def status() -> Response:
    """Reply with what is served and what is missing, as a JSON object."""
    found = pinned()
    return json_reply(
        {
            "app": context().settings.app,
            "ready": _not_ready() is None,
            "not_ready_because": _not_ready(),
            "generation": found.generation,
            "model_age_seconds": found.age_seconds,
            "model": dict(context().current.status()),
        }
    )


def scrape() -> Response:
    """Reply with the metrics in Prometheus's text format."""
    return Response(generate_latest(metrics().registry), content_type=CONTENT_TYPE_LATEST)


def pmml() -> Response:
    """Reply with the model as it is now, as PMML; ``pretty=true`` indents it."""
    pretty = flag("pretty")
    finish_parameters()
    document = any_model().to_pmml()
    return Response(_indented(document) if pretty else document, mimetype="application/xml")


def _indented(document: bytes) -> bytes:
    parser = etree.XMLParser(
        remove_blank_text=True, resolve_entities=False, no_network=True, huge_tree=True
    )
    root = etree.fromstring(document, parser)
    return etree.tostring(root, pretty_print=True, xml_declaration=True, encoding="UTF-8")


def console_page(forms: Sequence[Form]) -> Response:
    """Reply with the console: one row for each of `forms`."""
    page = render_template(
        "index.html",
        app=context().settings.app,
        root=request.script_root,
        forms=forms,
        picture=_picture().is_file(),
    )
    return _for_browsers(make_response(page))


def console_file(name: str) -> Response:
    """Reply with the console's script or style sheet."""
    if name not in STATIC_FILES:
        raise not_found()
    return _for_browsers(Response((STATIC / name).read_bytes(), mimetype=STATIC_FILES[name]))


def freshness() -> Response:
    """Reply with the picture that ``bin/gemsbok demo`` has drawn."""
    if not _picture().is_file():
        raise not_found()
    return Response(_picture().read_bytes(), mimetype="image/png")


def _picture() -> Path:
    return home() / "demo" / "freshness.png"


def _for_browsers(response: Response) -> Response:
    response.headers["Cache-Control"] = "public"
    response.headers["X-Frame-Options"] = "SAMEORIGIN"
    response.headers["Content-Security-Policy"] = CONTENT_POLICY
    return response
