"""Checks every request before its route runs: host, credentials, role, quota."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from flask import current_app

from common.config import ConfigError
from common.config.credentials import CredentialsError
from serving_layer.access.guard import Guard
from serving_layer.access.hosts import Hosts
from serving_layer.access.roles import OPEN, role_of

if TYPE_CHECKING:
    from flask import Request

    from common.config import Api


class AdmissionPolicy:
    """The access rules of one application.

    Parameters
    ----------
    api : Api
        ``serving.api``.

    Raises
    ------
    ConfigError
        If the file of users cannot be used.
    """

    def __init__(self, api: Api) -> None:
        self._hosts = Hosts(api.allowed_hosts, any_name=api.auth.file is not None)
        try:
            self._guard = None if api.auth.file is None else Guard(api.auth)
        except CredentialsError as error:
            message = f"serving.api.auth.file: {error}"
            raise ConfigError(message) from error

    def admit(self, incoming: Request, view: Callable[..., Any] | None) -> None:
        """Admit the current request or raise; health probes are always admitted.

        Parameters
        ----------
        incoming : Request
            The request.
        view : callable or None
            The function of its route; None if there is no route.

        Raises
        ------
        ApiError
            As :meth:`Hosts.check` and :meth:`Guard.admit`.
        """
        role = role_of(view, incoming.method)
        if role == OPEN:
            return
        self._hosts.check(incoming.environ)
        if self._guard is not None:
            self._guard.admit(role)

    def charge_events(self, count: int) -> None:
        """Charge events to the user's quota, if there is one."""
        if self._guard is not None:
            self._guard.charge_events(count)


def admission_policy() -> AdmissionPolicy:
    """Return the access rules of the current application."""
    return cast("AdmissionPolicy", current_app.extensions["gemsbok-admission"])
