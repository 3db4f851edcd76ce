"""The audit trail: who was refused, and who did what only an administrator may do.

One line each, of the logger ``serving_layer.access.audit``, at WARNING for what was refused.  Names
come from clients: the log's formatter escapes what could start another line.
"""

from __future__ import annotations

import logging

from flask import g, request

log = logging.getLogger(__name__)

_SHOWN = 100


def login_refused(reason: str, name: str | None) -> None:
    """Record credentials that were wrong; never the credentials themselves."""
    log.warning("login refused: %s; %s", reason, _who(name))


def access_refused(role: str, name: str) -> None:
    """Record that a user lacks the role that a route needs."""
    log.warning("access refused: role %r is missing; %s", role, _who(name))


def admin_request(name: str) -> None:
    """Record a request that only an administrator may make."""
    log.info("admin request; %s", _who(name))


def _who(name: str | None) -> str:
    return (
        f"user {(name or '')[:_SHOWN]!r}, address {request.remote_addr}, "
        f"{request.method} {(request.endpoint or 'no route')!r}, request {g.request_id}"
    )
