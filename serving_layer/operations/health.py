"""Views for health probes, status and version."""

from __future__ import annotations

import platform
from typing import Any

from flask import Response
from pydantic import BaseModel, Field

import common
from serving_layer.access.roles import ADMIN, OPEN, needs
from serving_layer.http.describe import Reply, describe
from serving_layer.http.errors import RETRY_SECONDS, ApiError
from serving_layer.http.json_replies import JSON, replies
from serving_layer.operations.worker_status import others_missing
from serving_layer.request.context import context, missing, snapshot, unready


class Readiness(BaseModel):
    """Whether queries can be answered, and what is missing if not."""

    ready: bool
    missing: str | None = Field(description="What is missing, in a sentence; null when ready.")
    fraction_loaded: float = Field(description="Share (0 to 1) of the model that is in memory.")
    generation: int | None = Field(description="The generation that is served.")


class Status(BaseModel):
    """What is served and what is missing."""

    app: str = Field(description="The family.")
    ready: bool
    not_ready_because: str | None
    generation: int | None
    model_age_seconds: float | None
    model: dict[str, Any] = Field(description="What is loaded, awaited and counted.")


class Version(BaseModel):
    """The software that answers."""

    version: str = Field(description="Gemsbok's version.")
    python: str = Field(description="Python's version.")
    app: str = Field(description="The family.")


@needs(OPEN)
@describe(reply=Reply("The process answers."), quick=True)
def live() -> Response:
    """Reply 200 if the process can go on, 503 if it cannot and has to be started anew."""
    ended = context().current.status().get("ended")
    if ended is not None:
        raise ApiError(503, "ended", str(ended))
    return Response()


@needs(OPEN)
@describe(reply=Reply("Queries can be answered."), quick=True)
def ready() -> Response:
    """Reply 200 if all workers can answer queries, 503 with the reason if not."""
    reason = _not_ready()
    if reason is not None:
        raise ApiError(503, "not_ready", reason, headers=_retry())
    return Response()


@needs(OPEN)
@describe(reply=[replies(Readiness), replies(Readiness, 503)], quick=True)
def readiness() -> Response:
    """Say whether queries can be answered, and what share of the model is loaded; 503 if not."""
    reason = _not_ready()
    found = snapshot()
    state = Readiness(
        ready=reason is None,
        missing=reason,
        fraction_loaded=found.model.fraction_loaded if found.model else 0.0,
        generation=found.generation,
    )
    if reason is None:
        return _json(state)
    return _json(state, 503, _retry())


@needs(ADMIN)
@describe(reply=replies(Status))
def status() -> Response:
    """Reply with what is served and what is missing."""
    found, reason = snapshot(), _not_ready()
    state = Status(
        app=context().settings.app,
        ready=reason is None,
        not_ready_because=reason,
        generation=found.generation,
        model_age_seconds=found.age_seconds,
        model=dict(context().current.status()),
    )
    return _json(state)


@describe(reply=replies(Version), quick=True)
def version() -> Response:
    """Reply with the versions of the software."""
    app = context().settings.app
    return _json(Version(version=common.__version__, python=platform.python_version(), app=app))


def _not_ready() -> str | None:
    if context().draining.is_set():
        return "this process is stopping"
    return unready() or missing(snapshot().model) or others_missing()


def _retry() -> dict[str, str]:
    return {"Retry-After": str(RETRY_SECONDS)}


def _json(value: BaseModel, code: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(value.model_dump_json(), status=code, headers=headers, mimetype=JSON)
