"""Creates the Flask application: the framework's routes, one family's routes, common handling."""

from __future__ import annotations

import gzip
import logging
import time
import zlib
from dataclasses import dataclass
from threading import BoundedSemaphore
from typing import TYPE_CHECKING, Any

from flask import Flask, Request, Response, g, request
from werkzeug.exceptions import HTTPException
from werkzeug.routing import RequestRedirect

from common.runtime.families import input_lines
from serving_layer.access.admission import AdmissionPolicy
from serving_layer.events.ingest import read_only
from serving_layer.http.errors import ApiError, error_response, from_http
from serving_layer.http.lean import LeanFlask, LeanResponse
from serving_layer.http.paths import BAD_PATH, not_found, sent_path, use_segments
from serving_layer.http.problem import concerns, problem_response
from serving_layer.http.request_id import request_id
from serving_layer.operations import routes
from serving_layer.request.context import Context, ModelSource, context
from serving_layer.request.idempotency import keep_body
from serving_layer.request.metrics import Metrics
from serving_layer.run.family import serving_family

if TYPE_CHECKING:
    from common.broker import Producer
    from common.config import Settings

log = logging.getLogger(__name__)

#: Smallest size of a reply that is compressed.
COMPRESS_FROM = 256
#: A fast level, because a model's PMML may have hundreds of megabytes.
COMPRESS_LEVEL = 4

_WRITES = frozenset({"POST", "PUT", "PATCH", "DELETE"})


def create_app(settings: Settings, current: ModelSource, producer: Producer | None) -> LeanFlask:
    """Create the application.

    Parameters
    ----------
    settings : Settings
        The complete configuration; ``app`` names the family.
    current : ModelSource
        Has the served model.
    producer : Producer or None
        Producer for the input topic; None makes the serving layer read-only.

    Raises
    ------
    ConfigError
        If the family cannot be imported or lacks a required name, or the file of users cannot
        be used.
    """
    app = LeanFlask(
        "serving_layer",
        static_folder=None,
        template_folder="console/templates",
        context_path=settings.serving.api.context_path,
    )
    use_segments(app.url_map)
    lines = input_lines(settings)
    family = serving_family(settings)
    writers = BoundedSemaphore(max(1, settings.serving.api.threads // 2))
    app.extensions["gemsbok"] = Context(settings, current, producer, lines, writers)
    app.extensions["gemsbok-metrics"] = metrics = Metrics(
        current, shared=settings.serving.api.workers > 1
    )
    app.extensions["gemsbok-admission"] = admission = AdmissionPolicy(settings.serving.api)
    around = _Around(app, admission, metrics)
    app.before_request(around.before)
    app.after_request(around.after)
    app.register_error_handler(HTTPException, lambda error: _error_response(from_http(error)))
    app.register_error_handler(Exception, _on_failure)
    app.register_blueprint(routes.blueprint(family.console()))
    app.register_blueprint(family.blueprint(settings))
    resources = family.resources(settings)
    if resources is not None:
        app.register_blueprint(resources)
    return app


@dataclass(frozen=True)
class _Around:
    """Handlers that run before and after each route.

    They resolve Flask's slow proxies only once.
    """

    app: Flask
    admission: AdmissionPolicy
    metrics: Metrics

    def before(self) -> None:
        incoming: Request = request._get_current_object()  # type: ignore[attr-defined]
        request_globals = g._get_current_object()
        request_globals.started = time.perf_counter()
        request_globals.request_id = request_id(incoming.environ.get("HTTP_X_REQUEST_ID"))
        view = self.app.view_functions.get(incoming.endpoint or "")
        self.admission.admit(incoming, view)
        bad_path: ApiError | None = incoming.environ.get(BAD_PATH)
        if bad_path is not None:
            raise bad_path
        if isinstance(incoming.routing_exception, RequestRedirect):
            # A path with an additional or missing slash is another path: there are no redirects.
            raise not_found()
        if incoming.method in _WRITES and view is not None:
            # Before the body is looked at (Oryx's rule).
            if not getattr(view, "reads", False) and read_only():
                raise ApiError(403, "read_only", "Serving Layer is read-only")
            keep_body()

    def after(self, response: LeanResponse) -> LeanResponse:
        incoming: Request = request._get_current_object()  # type: ignore[attr-defined]
        request_globals = g._get_current_object()
        response.added = _common_headers(request_globals)
        if "HTTP_ACCEPT_ENCODING" in incoming.environ:
            _compress(response)
        route = incoming.url_rule.rule if incoming.url_rule else "none"
        seconds = time.perf_counter() - request_globals.started
        self.metrics.answered(incoming.method, route, response.status_code, seconds)
        return response


def _common_headers(request_globals: Any) -> list[tuple[str, str]]:
    headers = [("X-Request-Id", request_globals.request_id), ("X-Content-Type-Options", "nosniff")]
    snapshot = request_globals.get("snapshot")
    if snapshot is not None:
        if snapshot.generation is not None:
            headers.append(("X-Model-Generation", str(snapshot.generation)))
        if snapshot.age_seconds is not None:
            headers.append(("X-Model-Age", f"{snapshot.age_seconds:.3f}"))
    return headers


def _compress(response: Response) -> None:
    """Compress a reply by ``Accept-Encoding``; ``deflate`` means zlib's format."""
    size = response.content_length or 0
    if size < COMPRESS_FROM or (response.mimetype or "").startswith("image/"):
        return
    response.headers["Vary"] = "Accept-Encoding"
    encoding = request.accept_encodings.best_match(("gzip", "deflate", "identity"))
    if encoding not in ("gzip", "deflate"):
        return
    body = response.get_data()
    if encoding == "gzip":
        response.set_data(gzip.compress(body, COMPRESS_LEVEL, mtime=0))
    else:
        response.set_data(zlib.compress(body, COMPRESS_LEVEL))
    response.headers["Content-Encoding"] = encoding


def _error_response(error: ApiError) -> Response:
    prefix = context().settings.serving.api.context_path
    form = problem_response if concerns(sent_path(request.environ), prefix) else error_response
    return form(error, g.request_id)


def _on_failure(error: Exception) -> Response:
    log.error("request %s: %s %s", g.request_id, request.method, request.path, exc_info=error)
    message = f"something failed here; the log has it under request {g.request_id}"
    return _error_response(ApiError(500, "internal", message))
