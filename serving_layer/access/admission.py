"""What every request passes before its route: which host it is for, who sends it, may he."""

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
    """The rules of one application.

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

    def admit(self, asked: Request, view: Callable[..., Any] | None) -> None:
        """Let the present request in; probes of health always are.

        Parameters
        ----------
        asked : Request
            The request.
        view : callable or None
            What answers it; None where there is no route.

        Raises
        ------
        ApiError
            As :class:`Hosts` and :class:`Guard` say.
        """
        role = role_of(view, asked.method)
        if role == OPEN:
            return
        self._hosts.check(asked.environ)
        if self._guard is not None:
            self._guard.admit(role)

    def charge_events(self, count: int) -> None:
        """Take events off the sender's quota, where there is one."""
        if self._guard is not None:
            self._guard.charge_events(count)


def admission_policy() -> AdmissionPolicy:
    """Return the rules of the application that answers this request."""
    return cast("AdmissionPolicy", current_app.extensions["gemsbok-admission"])
