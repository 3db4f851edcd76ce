"""The audit log: refused log-ins, refused requests, and requests of administrators.

Each is one line of the logger ``serving_layer.access.audit``; refusals have the level WARNING.
Names come from clients: the log's formatter escapes line breaks in them.
"""

from __future__ import annotations

import logging

from flask import g, request

log = logging.getLogger(__name__)

_SHOWN = 100


def login_refused(reason: str, name: str | None) -> None:
    """Log wrong credentials, without the credentials themselves."""
    log.warning("login refused: %s; %s", reason, _description(name))


def access_refused(role: str, name: str) -> None:
    """Log that a user lacks the role that a route requires."""
    log.warning("access refused: role %r is missing; %s", role, _description(name))


def admin_request(name: str) -> None:
    """Log a request that requires the role ``admin``."""
    log.info("admin request; %s", _description(name))


def _description(name: str | None) -> str:
    return (
        f"user {(name or '')[:_SHOWN]!r}, address {request.remote_addr}, "
        f"{request.method} {(request.endpoint or 'no route')!r}, request {g.request_id}"
    )
