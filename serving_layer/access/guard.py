"""The guard: who sends this request, and may he; and the audit trail of whom it refused.

The trail has one line for each refusal, at WARNING, and for what only an administrator may do.
Names come from clients: the log's formatter escapes what could start another line.
"""

from __future__ import annotations

import logging
import math
import secrets
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from flask import g, request

from common.base.hashing import sha256_hex
from common.config.credentials import REALM, User
from serving_layer.access.digest import Digest, LoginError
from serving_layer.access.hosts import is_loopback
from serving_layer.access.quotas import Buckets
from serving_layer.access.roles import ADMIN
from serving_layer.access.users import Users
from serving_layer.http.errors import ApiError
from serving_layer.http.paths import sent_path

if TYPE_CHECKING:
    from werkzeug.datastructures import Authorization

    from common.config import Auth

audit = logging.getLogger("serving_layer.access.audit")

#: Characters of a name that the audit trail shows.
_SHOWN = 100


class Guard:
    """Admits requests with valid credentials and a sufficient role.

    Parameters
    ----------
    settings : Auth
        ``serving.api.auth``; its `file` is set.
    clock : callable, optional
        Monotonic seconds.

    Raises
    ------
    CredentialsError
        If the file of users cannot be used.
    """

    def __init__(self, settings: Auth, clock: Callable[[], float] = time.monotonic) -> None:
        assert settings.file is not None
        self._users = Users(settings.file, clock)
        self._digest = Digest(settings.nonce_seconds, clock)
        self._nobody = secrets.token_hex(32)
        per_second = settings.bad_logins_per_minute / 60
        self._bad_logins = Buckets(per_second, clock, float(settings.bad_logins_per_minute))
        self._requests = _quota(settings.requests_per_second, clock)
        self._events = _quota(settings.events_per_second, clock)

    def admit(self, role: str) -> None:
        """Admit the current request or raise; sets ``g.user``.

        Parameters
        ----------
        role : str
            The role that the route requires.

        Raises
        ------
        ApiError
            401 ``unauthorized``, 403 ``tls_required`` or ``forbidden``, 429
            ``too_many_logins`` or ``too_many_requests``.
        """
        user = self._user()
        # Any user may get the 404 of an unknown route.
        if request.endpoint and not user.may(role):
            audit.warning("access refused: role %r is missing; %s", role, _who(user.name))
            message = f"user {user.name!r} lacks the role {role!r}"
            raise ApiError(403, "forbidden", message)
        if role == ADMIN:
            audit.info("admin request; %s", _who(user.name))
        if self._requests is not None:
            _refuse_above(self._requests.take(user.name), "too_many_requests", "requests")
        g.user = user

    def charge_events(self, count: int) -> None:
        """Charge events to the user's quota.

        Raises
        ------
        ApiError
            429 ``too_many_events``; nothing has been charged or written.
        """
        if self._events is not None:
            _refuse_above(self._events.take(g.user.name, count), "too_many_events", "events")

    def _user(self) -> User:
        authorization = request.authorization
        if authorization is None:
            message = "log in: Authorization: Bearer <token>, or HTTP digest; see docs/security.md"
            raise self._unauthorized(message)
        try:
            return (
                self._by_digest(authorization)
                if authorization.type == "digest"
                else self._by_token(authorization)
            )
        except LoginError as error:
            if error.stale:
                raise self._unauthorized(str(error), stale=True) from None
            raise self._bad_login(str(error), authorization.get("username")) from None

    def _by_token(self, authorization: Authorization) -> User:
        _refuse_plain_transport()
        token = authorization.token if authorization.type == "bearer" else None
        # Hashes are compared, so the time of the comparison reveals nothing about a token.
        user = self._users.known().by_token.get(sha256_hex(token)) if token else None
        if user is None:
            reason = "unknown token" if token else f"scheme {authorization.type!r} is not taken"
            raise LoginError(reason)
        return user

    def _by_digest(self, authorization: Authorization) -> User:
        user = self._users.known().by_name.get(authorization.get("username") or "")
        # An unknown name takes the same time and gets the same reply as a wrong password.
        ha1 = user.hash if user else self._nobody
        # Path and query as the client sent them: what its digest is about.
        target, query = sent_path(request.environ), request.environ.get("QUERY_STRING", "")
        target = f"{target}?{query}" if query else target
        self._digest.check(authorization.parameters, request.method, target, ha1)
        if user is None:
            reason = "unknown user"
            raise LoginError(reason)
        return user

    def _bad_login(self, reason: str, name: str | None) -> ApiError:
        """Count wrong credentials of an address; requests with right ones are not limited by it."""
        address = request.remote_addr or ""
        wait = self._bad_logins.take(address)
        if wait:
            message = f"too many wrong credentials from {address}"
            return ApiError(429, "too_many_logins", message, headers=_retry_after(wait))
        audit.warning("login refused: %s; %s", reason, _who(name))
        return self._unauthorized("the credentials are wrong")

    def _unauthorized(self, message: str, stale: bool = False) -> ApiError:
        # Token clients need no challenge; browsers do, and they support digest only.
        digest = stale or self._users.known().by_name
        challenge = self._digest.challenge(stale) if digest else f'Bearer realm="{REALM}"'
        return ApiError(401, "unauthorized", message, headers={"WWW-Authenticate": challenge})


def _quota(per_second: float | None, clock: Callable[[], float]) -> Buckets | None:
    return None if per_second is None else Buckets(per_second, clock)


def _refuse_above(wait: float, code: str, unit: str) -> None:
    if wait:
        message = f"too many {unit}: the quota of this user is used up"
        raise ApiError(429, code, message, headers=_retry_after(wait))


def _retry_after(seconds: float) -> dict[str, str]:
    return {"Retry-After": str(math.ceil(seconds))}


def _refuse_plain_transport() -> None:
    """Raise for a token that another machine sent over plain HTTP."""
    if request.scheme != "https" and not is_loopback(request.remote_addr or ""):
        message = (
            "a token came over plain HTTP from another machine and may have been overheard: "
            "make a new one, and set serving.api.certificate_file so that HTTPS is served"
        )
        raise ApiError(403, "tls_required", message)


def _who(name: str | None) -> str:
    """Say for the audit trail who sent the present request, from where, and to what."""
    return (
        f"user {(name or '')[:_SHOWN]!r}, address {request.remote_addr}, "
        f"{request.method} {(request.endpoint or 'no route')!r}, request {g.request_id}"
    )
