"""Which role a route needs: by its method, unless the route itself says otherwise."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

#: Answered to everybody, logged in or not.
OPEN = "open"
READ, INGEST, ADMIN = "read", "ingest", "admin"

_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})

F = TypeVar("F", bound=Callable[..., object])


def needs(role: str) -> Callable[[F], F]:
    """Say that a route needs this role, whatever its method."""

    def mark(view: F) -> F:
        view.role = role  # type: ignore[attr-defined]
        return view

    return mark


def role_of(view: Callable[..., Any] | None, method: str) -> str:
    """Return the role that a route needs.

    Queries need ``read``, other methods ``ingest``, except where :func:`needs` says more or
    :func:`serving_layer.events.ingest.reads` says that a POST only asks.  Where there is no route,
    ``read``: what exists is told only to those who may see it.
    """
    declared: str | None = getattr(view, "role", None)
    if declared is not None:
        return declared
    only_reads = view is None or method in _SAFE or getattr(view, "reads", False)
    return READ if only_reads else INGEST
