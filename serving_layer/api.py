"""The protocol between the serving layer and a model family, with defaults of optional parts."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from common.wire.messages import MessageError

if TYPE_CHECKING:
    from flask import Blueprint

    from common.config import Settings
    from common.replica.updates import ModelMessage


class NoPmmlError(Exception):
    """The model has no PMML form; the client gets a 404 with the message."""


class ServingModel(Protocol):
    """One family's model in memory; the class is named ``Serving`` in its module.

    A family's class derives from this one, and so has the defaults of `apply_many`,
    `apply_many_foreign` and `to_pmml`.

    An instance belongs to one generation; a model without our headers is loaded into the existing
    instance, which keeps data by Oryx's rules.  One thread writes (`load`, `apply`) while many
    threads read: a reader sees a vector from before or from after an update, never a mixture.
    """

    def __init__(self, settings: Settings) -> None: ...

    @property
    @abstractmethod
    def fraction_loaded(self) -> float:
        """Share (0 to 1) of the model's expected parts that are loaded; 1 if none are expected.

        A family defines it as a class attribute or as a property.
        """

    @abstractmethod
    def load(self, model: ModelMessage) -> None:
        """Load a model; raises MessageError or StoreError if it cannot be used."""

    @abstractmethod
    def apply(self, update: str) -> None:
        """Apply the payload of one ``UP``; raises MessageError if it cannot be read."""

    def apply_many(self, updates: Sequence[str]) -> Sequence[MessageError]:
        """Apply payloads as :meth:`apply` would in this order.

        A family overrides it if it can apply many payloads with less work.

        Returns
        -------
        sequence of MessageError
            The errors of payloads that cannot be used; all others have been applied.
        """
        return apply_each(self.apply, updates)

    def apply_many_foreign(self, updates: Sequence[str]) -> Sequence[MessageError]:
        """Apply payloads of ``UP`` records that have no headers of ours, as Oryx means them.

        By default they mean what they mean with our headers.

        Returns
        -------
        sequence of MessageError
            What is wrong with those that cannot be used; all others count.
        """
        return self.apply_many(updates)

    def to_pmml(self) -> bytes:
        """Return the current model, with every update applied, as PMML 4.4.

        Raises
        ------
        NoPmmlError
            If the model has no PMML form, which is the default.
        """
        message = "a model of this family has no PMML form"
        raise NoPmmlError(message)


def apply_each(apply: Callable[[str], None], updates: Sequence[str]) -> list[MessageError]:
    """Apply payloads one by one; returns what is wrong with those that cannot be used."""
    refused = []
    for update in updates:
        try:
            apply(update)
        except MessageError as error:
            refused.append(error)
    return refused


@dataclass(frozen=True, slots=True)
class Form:
    """One row of the console.

    Attributes
    ----------
    label : str
        Title of the row.
    path : str
        The request's path under the context path; each ``{name}`` becomes a text field whose
        value is percent-encoded as one segment.  A name with ``=`` in it, ``{item=value}``,
        takes ``id=value``.
    method : str
        HTTP method.
    query : tuple of str
        Names of the query parameters that get a field; empty fields are not sent.
    body : str or None
        Placeholder of the body's field; None if the request has no body.
    upload : bool
        Whether a file can be sent as the body.
    """

    label: str
    path: str
    method: Literal["GET", "POST", "DELETE"] = "GET"
    query: tuple[str, ...] = ()
    body: str | None = None
    upload: bool = False

    @property
    def fields(self) -> list[str]:
        """Names of the path's fields, in order."""
        return re.findall(r"{([^}]*)}", self.path)


def no_console() -> Sequence[Form]:
    """Return no rows: the family adds nothing to the console."""
    return ()


def no_resources(settings: Settings) -> Blueprint | None:
    """Return None: the family has no JSON resources."""
    return None


@dataclass(frozen=True)
class ServingFamily:
    """A family's part in the serving layer.

    Attributes
    ----------
    new_model : callable
        Returns an empty model; the module's ``Serving``.
    blueprint : callable
        Returns the family's routes, which call :func:`serving_layer.routes.model` per request.
    console : callable
        Returns the rows of the console page; none by default.
    resources : callable
        Returns the family's JSON resources below ``/v1``; None, the default, if it has none.
    """

    new_model: Callable[[Settings], ServingModel]
    blueprint: Callable[[Settings], Blueprint]
    console: Callable[[], Sequence[Form]] = no_console
    resources: Callable[[Settings], Blueprint | None] = no_resources
