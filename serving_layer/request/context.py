"""The application's dependencies, and the model snapshot of a request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from threading import BoundedSemaphore, Event
from typing import TYPE_CHECKING, Protocol, TypeVar, cast

from flask import current_app, g

from serving_layer.http.errors import RETRY_SECONDS, ApiError
from serving_layer.request.idempotency import Writes

if TYPE_CHECKING:
    from common.api import InputLines
    from common.broker.api import Producer
    from common.config import Settings
    from serving_layer.api import ServingModel

M = TypeVar("M", bound="ServingModel")


class ModelSource(Protocol):
    """Has the model that is being served.

    All properties are read from one reference, which is swapped when the generation changes.
    """

    @property
    def model(self) -> ServingModel | None:
        """The model; None before there is one."""

    @property
    def generation(self) -> int | None:
        """Its generation's id; None if there is no model, or it came without our headers."""

    @property
    def model_age_seconds(self) -> float | None:
        """Seconds since the model was built; None if unknown."""

    def status(self) -> Mapping[str, object]:
        """Return the state of loading; ``missing`` is None, or a sentence on what is missing.

        There may be more sentences: ``unready`` on why the process should get no requests
        although it has a model, and ``ended`` on why it cannot go on.
        """


@dataclass(frozen=True)
class Context:
    """The application's dependencies; ``context()`` returns them during a request.

    Attributes
    ----------
    settings : Settings
        The complete configuration.
    current : ModelSource
        Has the served model.
    producer : Producer or None
        Producer for the input topic; None in a read-only serving layer.
    lines : InputLines
        The family's rules for input lines.
    writers : BoundedSemaphore
        Limits the requests that wait for the broker, to fewer than there are threads, so that
        queries are answered while the broker is slow or unreachable.
    writes : Writes
        The writes with an ``Idempotency-Key``.
    draining : Event
        Set when the process is about to stop and is no longer ready.
    """

    settings: Settings
    current: ModelSource
    producer: Producer | None
    lines: InputLines
    writers: BoundedSemaphore
    writes: Writes = field(default_factory=Writes)
    draining: Event = field(default_factory=Event)


@dataclass(frozen=True, slots=True)
class ModelSnapshot:
    """The model that answers a request, with its generation and age."""

    model: ServingModel | None
    generation: int | None
    age_seconds: float | None


def context() -> Context:
    """Return the current application's dependencies."""
    return cast("Context", current_app.extensions["gemsbok"])


def snapshot() -> ModelSnapshot:
    """Return the request's model and generation: those current when it was first asked for."""
    kept = g._get_current_object()
    source = context().current
    # Model and generation are read as one, though each is read by itself.
    while "snapshot" not in kept:
        found = ModelSnapshot(source.model, source.generation, source.model_age_seconds)
        if source.model is found.model and source.generation == found.generation:
            kept.snapshot = found
    return cast("ModelSnapshot", kept.snapshot)


def model(kind: type[M]) -> M:
    """Return the model that answers this request; the same one on every call.

    Parameters
    ----------
    kind : type
        The family's model class, for the type checker.

    Raises
    ------
    ApiError
        503 ``model_not_ready``, saying what is missing, if there is no model or a smaller share
        of it is loaded than ``serving.min_model_load_fraction``.  This is checked for each
        request, because a model that is replaced in place may be incomplete again.
    """
    return cast("M", any_model())


def any_model() -> ServingModel:
    """Return the same as :func:`model`, for code that does not know the family."""
    current = snapshot().model
    reason = missing(current)
    if current is None or reason is not None:
        headers = {"Retry-After": str(RETRY_SECONDS)}
        raise ApiError(503, "model_not_ready", f"not ready: {reason}", headers=headers)
    return current


def unready() -> str | None:
    """Return why the process should get no requests, although it may have a model; or None."""
    reason = context().current.status().get("unready")
    return None if reason is None else str(reason)


def missing(model: ServingModel | None) -> str | None:
    """Return what `model` lacks before it can answer, in words; None if it can."""
    if model is None:
        return str(context().current.status().get("missing") or "there is no model yet")
    least = context().settings.serving.min_model_load_fraction
    loaded = model.fraction_loaded
    if loaded < least:
        return f"{loaded:.0%} of the model is loaded, {least:.0%} is needed"
    return None
