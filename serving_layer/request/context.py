"""What the application was made with, and the one model that answers a request."""

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
    """Holds the model that is served now; its properties belong to one generation.

    All properties are read from one reference, which is swapped when a generation changes.
    """

    @property
    def model(self) -> ServingModel | None:
        """The model, or None before there is one."""

    @property
    def generation(self) -> int | None:
        """Its generation's id; None before there is one, and for a model that is not ours."""

    @property
    def model_age_seconds(self) -> float | None:
        """Seconds since the model was built; None where that is not known."""

    def status(self) -> Mapping[str, object]:
        """Say what is loaded; ``missing`` is a sentence on what is not, or None.

        There may be more sentences: ``unready`` on why the process is not to be asked although
        it has a model, and ``ended`` on why it cannot go on.
        """


@dataclass(frozen=True)
class Context:
    """What the application was made with; ``context()`` returns it during a request.

    Attributes
    ----------
    settings : Settings
        The whole configuration.
    current : ModelSource
        Holds the model that is served.
    producer : Producer or None
        Writes to the input topic; None on a read-only serving layer.
    lines : InputLines
        The family's rules for input lines.
    writers : BoundedSemaphore
        Requests that may wait for the broker at once: fewer than there are threads, so that
        queries are answered while it is slow or gone.
    writes : Writes
        The writes that have an ``Idempotency-Key``.
    draining : Event
        Set when the process is about to stop, so that it is no longer ready.
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
    """The one model that answers a request."""

    model: ServingModel | None
    generation: int | None
    age_seconds: float | None


def context() -> Context:
    """Return what the application was made with."""
    return cast("Context", current_app.extensions["gemsbok"])


def snapshot() -> ModelSnapshot:
    """Return the request's model and generation: those current when it was first asked for."""
    kept = g._get_current_object()
    if "snapshot" not in kept:
        kept.snapshot = _pin(context().current)
    return cast("ModelSnapshot", kept.snapshot)


def _pin(source: ModelSource) -> ModelSnapshot:
    """Read model and generation as one, though each is read by itself."""
    while True:
        found = ModelSnapshot(source.model, source.generation, source.model_age_seconds)
        if source.model is found.model and source.generation == found.generation:
            return found


def model(kind: type[M]) -> M:
    """Return the model that answers this request; the same one whenever it is asked.

    Parameters
    ----------
    kind : type
        The family's model class, for the type checker.

    Raises
    ------
    ApiError
        503 ``model_not_ready``, saying what is missing, if there is no model or less of it is
        loaded than ``serving.min_model_load_fraction``.  Asked anew for each request, so that
        a later generation is not served half loaded either.
    """
    return cast("M", any_model())


def any_model() -> ServingModel:
    """Return what :func:`model` does, of whatever family."""
    found = snapshot().model
    reason = missing(found)
    if found is None or reason is not None:
        headers = {"Retry-After": str(RETRY_SECONDS)}
        raise ApiError(503, "model_not_ready", f"not ready: {reason}", headers=headers)
    return found


def unready() -> str | None:
    """Say why the process is not to be asked, although it may have a model; None if it is."""
    found = context().current.status().get("unready")
    return None if found is None else str(found)


def missing(found: ServingModel | None) -> str | None:
    """Say what `found` lacks before it can answer; None if it can."""
    if found is None:
        return str(context().current.status().get("missing") or "there is no model yet")
    least = context().settings.serving.min_model_load_fraction
    loaded = found.fraction_loaded
    if loaded < least:
        return f"{loaded:.0%} of the model is loaded, {least:.0%} is needed"
    return None
