"""The client's exceptions."""

from __future__ import annotations

from typing import Any

import httpx


class ClientError(Exception):
    """Base class: the request has failed."""


class UnreachableError(ClientError):
    """The server did not reply, after all attempts."""


class UnsendableError(ClientError):
    """An event or a record cannot be written as JSON; nothing of its batch was sent."""


class ApiError(ClientError):
    """The server replied with an error.

    Attributes
    ----------
    status : int
        HTTP status.
    code : str
        The error's code: ``unknown_id``, ``bad_parameter``, ``model_not_ready``, …
    detail : str
        What was wrong, and what would be valid.
    request_id : str or None
        Id of the request in the server's log.
    faults : list of dict
        The faults: ``detail``, and ``pointer`` or ``parameter``.
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
        Number of events at the beginning that are written.
    outcome_unknown : bool
        Whether some of the following events may be written too; if False, none of them is.
    """

    def __init__(self, cause: ClientError, acknowledged: int, outcome_unknown: bool) -> None:
        self.acknowledged = acknowledged
        self.outcome_unknown = outcome_unknown
        rest = "some of the rest may be written" if outcome_unknown else "the rest is not"
        super().__init__(f"{acknowledged} events are written, {rest}: {cause}")


def error_document(response: httpx.Response) -> dict[str, Any]:
    """Return the fields of an error reply in either form of the server; empty for other replies."""
    try:
        document = response.json()
    except ValueError:
        return {}
    fields = document.get("error", document) if isinstance(document, dict) else {}
    return fields if isinstance(fields, dict) else {}


def raise_for_error(response: httpx.Response) -> None:
    """Raise ApiError unless the request has succeeded."""
    if not response.is_success:
        document = error_document(response) or {"detail": response.text[:500]}
        raise ApiError(response.status_code, document)
