"""The role that a route requires: from its method, or declared by the route."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

#: The role of routes that need no log-in.
OPEN = "open"
READ, INGEST, ADMIN = "read", "ingest", "admin"

_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})

F = TypeVar("F", bound=Callable[..., object])


def needs(role: str) -> Callable[[F], F]:
    """Declare the role that a route requires, regardless of its method."""

    def mark(view: F) -> F:
        view.role = role  # type: ignore[attr-defined]
        return view

    return mark


def role_of(view: Callable[..., Any] | None, method: str) -> str:
    """Return the role that a route requires.

    GET, HEAD and OPTIONS require ``read``, other methods ``ingest``, unless :func:`needs` declares
    another role or :func:`serving_layer.events.ingest.reads` marks a POST as a query.  An unknown
    route requires ``read``, so that only users learn which routes exist.
    """
    declared: str | None = getattr(view, "role", None)
    if declared is not None:
        return declared
    only_reads = view is None or method in _SAFE or getattr(view, "reads", False)
    return READ if only_reads else INGEST
