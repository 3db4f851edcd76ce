"""What can go wrong, and what is known then."""

from __future__ import annotations

from typing import Any

import httpx


class ClientError(Exception):
    """The request has not been answered as it was meant to be."""


class UnreachableError(ClientError):
    """No answer came, after all attempts."""


class UnsendableError(ClientError):
    """An event or a record cannot be written as JSON; nothing of its batch was sent."""


class ApiError(ClientError):
    """The server has answered with an error.

    Attributes
    ----------
    status : int
        HTTP status.
    code : str
        Which error it is: ``unknown_id``, ``bad_parameter``, ``model_not_ready``, …
    detail : str
        What was wrong and what would be right.
    request_id : str or None
        Finds the request in the server's log.
    faults : list of dict
        Each thing that was wrong: ``detail``, and ``pointer`` or ``parameter``.
    """

    def __init__(self, status: int, document: dict[str, Any]) -> None:
        self.status = status
        self.code = str(document.get("code", "unknown"))
        self.detail = str(document.get("detail") or document.get("message") or "")
        self.request_id: str | None = document.get("request_id")
        self.faults: list[dict[str, Any]] = document.get("errors", [])
        super().__init__(f"{status} {self.code}: {self.detail} (request {self.request_id})")


class IngestError(ClientError):
    """Not all events have been written.

    Attributes
    ----------
    acknowledged : int
        Events, from the first on, that are written.
    outcome_unknown : bool
        Whether some of the events after these may be written too; otherwise none is.
    """

    def __init__(self, cause: ClientError, acknowledged: int, outcome_unknown: bool) -> None:
        self.acknowledged = acknowledged
        self.outcome_unknown = outcome_unknown
        rest = "some of the rest may be written" if outcome_unknown else "the rest is not"
        super().__init__(f"{acknowledged} events are written, {rest}: {cause}")


def error_document(response: httpx.Response) -> dict[str, Any]:
    """Return an error's JSON, whichever of the server's two forms it has; empty for others."""
    try:
        found = response.json()
    except ValueError:
        return {}
    inner = found.get("error", found) if isinstance(found, dict) else {}
    return inner if isinstance(inner, dict) else {}


def raise_for_error(response: httpx.Response) -> None:
    """Raise ApiError unless the request has succeeded."""
    if not response.is_success:
        document = error_document(response) or {"detail": response.text[:500]}
        raise ApiError(response.status_code, document)
