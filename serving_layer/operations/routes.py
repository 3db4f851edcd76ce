"""The blueprint of the framework's routes: health, metrics, PMML, pages for browsers."""

from __future__ import annotations

from collections.abc import Sequence

from flask import Blueprint, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from common.pmml.documents import indented
from serving_layer.api import Form, NoPmmlError
from serving_layer.console import pages
from serving_layer.http.describe import STRING, Reply, describe
from serving_layer.http.errors import ApiError
from serving_layer.http.parameters import finish_parameters, flag, switch
from serving_layer.operations import health
from serving_layer.request.context import any_model
from serving_layer.request.metrics import metrics

PRETTY = switch("pretty", "Whether to indent it.")


def blueprint(forms: Sequence[Form]) -> Blueprint:
    """Return the blueprint; `forms` are the rows of the family's console."""
    routes = Blueprint("framework", __name__)
    routes.add_url_rule("/livez", view_func=health.live)
    routes.add_url_rule("/ready", view_func=health.ready)
    routes.add_url_rule("/readyz", view_func=health.readiness)
    routes.add_url_rule("/status", view_func=health.status)
    routes.add_url_rule("/version", view_func=health.version)
    routes.add_url_rule("/metrics", view_func=scrape)
    routes.add_url_rule("/model.pmml", view_func=pmml)
    pages.add_pages(routes, forms)
    return routes


@describe(reply=Reply("Prometheus's text format.", {"text/plain": STRING}))
def scrape() -> Response:
    """Reply with the metrics."""
    return Response(generate_latest(metrics().registry), content_type=CONTENT_TYPE_LATEST)


@describe(query=[PRETTY], reply=Reply("PMML 4.4.", {"application/xml": STRING}))
def pmml() -> Response:
    """Reply with the model as it is now, with every update applied, as PMML.

    A model that has no PMML form is answered with 404 ``no_pmml``.
    """
    pretty = flag("pretty")
    finish_parameters()
    try:
        document = any_model().to_pmml()
    except NoPmmlError as error:
        raise ApiError(404, "no_pmml", str(error)) from None
    return Response(indented(document) if pretty else document, mimetype="application/xml")
