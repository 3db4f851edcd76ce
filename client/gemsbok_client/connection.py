"""Sends requests to one server, with credentials and retries; raises errors as exceptions."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import httpx

from gemsbok_client.errors import UnreachableError, raise_for_error
from gemsbok_client.retry import REPEAT, Retry, RetryingTransport
from gemsbok_client.version import VERSION

if TYPE_CHECKING:
    from gemsbok_client.options import ClientOptions


class Connection:
    """Sends requests to one server; thread-safe.

    Parameters
    ----------
    url : str
        URL of the server, including its context path.
    options : ClientOptions
        Transport, credentials and retries.
    """

    def __init__(self, url: str, options: ClientOptions) -> None:
        headers = {"User-Agent": f"gemsbok-client/{VERSION}", "Accept": "application/json"}
        if "token" in options:
            headers["Authorization"] = f"Bearer {options['token']}"
        inner = options.get("transport") or httpx.HTTPTransport(verify=_trust(options))
        self._http = httpx.Client(
            base_url=url,
            headers=headers,
            auth=httpx.DigestAuth(*options["digest"]) if "digest" in options else None,
            timeout=options.get("timeout", 10.0),
            transport=RetryingTransport(inner, options.get("retry", Retry())),
        )

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def get(self, path: str, query: Mapping[str, Any] | None = None) -> Any:
        """GET a path and return its JSON."""
        response = self.send("GET", path, params=dict(query or {}))
        raise_for_error(response)
        return response.json()

    def post(self, path: str, body: bytes, repeat: bool = False) -> Any:
        """POST gzip-compressed JSON, and return the JSON of the reply.

        Parameters
        ----------
        path : str
            Path below the server's URL.
        body : bytes
            A body from ``bulk.body``.
        repeat : bool
            Whether the request writes nothing, so that it may be repeated.
        """
        headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
        extensions = {REPEAT: True} if repeat else {}
        response = self.send("POST", path, content=body, headers=headers, extensions=extensions)
        raise_for_error(response)
        return response.json()

    def send(self, method: str, path: str, **parts: Any) -> httpx.Response:
        """Send a request and return the reply, with any status.

        Raises
        ------
        UnreachableError
            If there is no reply.
        """
        try:
            return self._http.request(method, path, **parts)
        except httpx.TransportError as error:
            message = f"{method} {self._http.base_url}{path}: {error or type(error).__name__}"
            raise UnreachableError(message) from error


def _trust(options: ClientOptions) -> bool | ssl.SSLContext:
    verify = options.get("verify", True)
    return ssl.create_default_context(cafile=verify) if isinstance(verify, str) else verify
