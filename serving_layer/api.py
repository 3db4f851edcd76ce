"""What the serving layer asks of a model family."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flask import Blueprint

    from common.config import Settings
    from common.replica.updates import ModelMessage
    from common.wire.messages import MessageError


class ServingModel(Protocol):
    """One family's model in memory; its module names the class ``Serving``.

    An instance belongs to one generation (with models that are not ours it lives on and
    follows Oryx's rule of what to keep).  One thread writes (`load`, `apply`), while many
    read: a reader may see a vector before or after an update, and nothing else in between.
    """

    def __init__(self, settings: Settings) -> None: ...

    @property
    def fraction_loaded(self) -> float:
        """Share (0 to 1) of the model's expected parts that it holds; 1 if none are expected."""

    def load(self, model: ModelMessage) -> None:
        """Take over a model; raises MessageError or StoreError if it cannot be used."""

    def apply(self, update: str, foreign: bool = False) -> None:
        """Apply the payload of one ``UP``; raises MessageError if it cannot be read.

        Parameters
        ----------
        update : str
            The payload.
        foreign : bool
            The record had no headers of ours and means what it means to Oryx, which for the
            forest's leaves is a change; with our headers a payload is absolute.
        """

    def to_pmml(self) -> bytes:
        """Return the model as it is now, with every update applied, as PMML 4.4."""


@runtime_checkable
class AppliesMany(Protocol):
    """A :class:`ServingModel` for which many updates at once are less work than one by one."""

    def apply_many(self, updates: Sequence[str], foreign: bool = False) -> Sequence[MessageError]:
        """Apply payloads as :meth:`ServingModel.apply` would in this order.

        Returns
        -------
        sequence of MessageError
            What is wrong with those that cannot be used; all others count.
        """


class ServingFamily(Protocol):
    """What a family's serving module offers beside ``Serving``."""

    def blueprint(self, settings: Settings) -> Blueprint:
        """Return the family's routes; they ask ``serving_layer.routes.model()`` per request."""
