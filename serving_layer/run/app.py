"""The Flask application: the framework's routes, one family's routes, and what all share."""

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
from serving_layer.http.paths import BAD_PATH, RawPath, not_found, sent_path, use_segments
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

#: Bytes from which on a reply is worth compressing.
COMPRESS_FROM = 256
#: Fast rather than small: a model's PMML has hundreds of megabytes.
COMPRESS_LEVEL = 4

_WRITES = frozenset({"POST", "PUT", "PATCH", "DELETE"})


def create_app(settings: Settings, current: ModelSource, producer: Producer | None) -> Flask:
    """Make the application.

    Parameters
    ----------
    settings : Settings
        The whole configuration; ``app`` names the family.
    current : ModelSource
        Holds the model that is served.
    producer : Producer or None
        Writes to the input topic; None makes the serving layer read-only.

    Raises
    ------
    ConfigError
        If the family cannot be imported or lacks what a family must offer, or the file of
        users cannot be used.
    """
    app = LeanFlask("serving_layer", static_folder=None, template_folder="console/templates")
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
    app.wsgi_app = RawPath(app.wsgi_app, settings.serving.api.context_path)  # type: ignore[method-assign]
    return app


@dataclass(frozen=True)
class _Around:
    """What is done before and after each route.

    Flask's proxies cost more than what is done with them: each is looked up once.
    """

    app: Flask
    admission: AdmissionPolicy
    metrics: Metrics

    def before(self) -> None:
        asked: Request = request._get_current_object()  # type: ignore[attr-defined]
        kept = g._get_current_object()
        kept.started = time.perf_counter()
        kept.request_id = request_id(asked.environ.get("HTTP_X_REQUEST_ID"))
        view = self.app.view_functions.get(asked.endpoint or "")
        self.admission.admit(asked, view)
        bad_path: ApiError | None = asked.environ.get(BAD_PATH)
        if bad_path is not None:
            raise bad_path
        if isinstance(asked.routing_exception, RequestRedirect):
            # A slash more or less is another path: nobody is sent elsewhere.
            raise not_found()
        if asked.method in _WRITES and view is not None:
            # Before the body is looked at (Oryx's rule).
            if not getattr(view, "reads", False) and read_only():
                raise ApiError(403, "read_only", "Serving Layer is read-only")
            keep_body()

    def after(self, response: LeanResponse) -> LeanResponse:
        asked: Request = request._get_current_object()  # type: ignore[attr-defined]
        kept = g._get_current_object()
        response.added = _common_headers(kept)
        if "HTTP_ACCEPT_ENCODING" in asked.environ:
            _compress(response)
        route = asked.url_rule.rule if asked.url_rule else "none"
        seconds = time.perf_counter() - kept.started
        self.metrics.answered(asked.method, route, response.status_code, seconds)
        return response


def _common_headers(kept: Any) -> list[tuple[str, str]]:
    headers = [("X-Request-Id", kept.request_id), ("X-Content-Type-Options", "nosniff")]
    snapshot = kept.get("snapshot")
    if snapshot is not None:
        if snapshot.generation is not None:
            headers.append(("X-Model-Generation", str(snapshot.generation)))
        if snapshot.age_seconds is not None:
            headers.append(("X-Model-Age", f"{snapshot.age_seconds:.3f}"))
    return headers


def _compress(response: Response) -> None:
    """Compress a reply as ``Accept-Encoding`` asks; ``deflate`` in zlib's frame."""
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
