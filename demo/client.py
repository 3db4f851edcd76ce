"""What the demo asks of the serving layer, over connections that are kept open."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote, urlsplit

from demo.scoreboard import PAGE
from stack.errors import EXIT_UNAVAILABLE, UserError

HEADERS = {"Accept": "application/json", "Content-Type": "text/csv"}
#: Some of the best items may be had before the model knows of it.
ASKED = 2 * PAGE
TIMEOUT_SECONDS = 60.0
#: After a longer pause the server may be closing the connection just as a request goes out.
IDLE_SECONDS = 5.0


class ServingClient:
    """The serving layer; safe for several threads, each with a connection of its own.

    Parameters
    ----------
    url : str
        Its address.
    route : str
        Takes events.
    """

    def __init__(self, url: str, route: str = "/ingest") -> None:
        self._route = route
        address = urlsplit(url)
        self._host, self._port = address.hostname or "", address.port
        self._local = threading.local()
        self._opened: list[http.client.HTTPConnection] = []

    def close(self) -> None:
        """Disconnect; it may be used again."""
        for connection in self._opened:
            connection.close()

    def is_up(self) -> bool:
        """Whether it answers at all."""
        try:
            return self._request("GET", "/livez")[0] == 200
        except UserError:
            return False

    def is_ready(self) -> bool:
        """Whether it has a model to answer by."""
        return self._request("GET", "/ready")[0] == 200

    def ingest(self, lines: Sequence[str]) -> None:
        """Send events, and return when the broker has acknowledged all of them.

        Raises
        ------
        UserError
            If they are refused, as all that follow here may.
        """
        self._expect(204, "POST", self._route, "\n".join(lines).encode())

    def recommend(self, user: str) -> list[str] | None:
        """Return the ids of the best items that the user does not know; None if it is unknown."""
        path = f"/recommend/{quote(user, safe='')}?howMany={ASKED}"
        status, body = self._request("GET", path)
        if status == 404:
            return None
        if status != 200:
            raise _refused(path, status, body)
        return [row["id"] for row in json.loads(body)]

    def knows(self, user: str, item: str) -> bool:
        """Whether the served model holds an event of the user with the item."""
        return item in json.loads(self._expect(200, "GET", f"/knownItems/{quote(user, safe='')}"))

    def ask(self, path: str, lines: Sequence[str] = ()) -> Any:
        """Return what a route replies: to a GET, or to a POST of lines."""
        if not lines:
            return json.loads(self._expect(200, "GET", path))
        return json.loads(self._expect(200, "POST", path, "\n".join(lines).encode()))

    def pmml(self) -> bytes:
        """Return the model as it is now."""
        return self._expect(200, "GET", "/model.pmml")

    def status(self) -> dict[str, Any]:
        """Return what is served: ``generation``, ``model`` with its ``counts``, …."""
        found: dict[str, Any] = json.loads(self._expect(200, "GET", "/status"))
        return found

    def _expect(self, wanted: int, method: str, path: str, body: bytes | None = None) -> bytes:
        status, reply = self._request(method, path, body)
        if status != wanted:
            raise _refused(path, status, reply)
        return reply

    def _request(self, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        connection = self._connection()
        try:
            connection.request(method, path, body, HEADERS)
            response = connection.getresponse()
            return response.status, response.read()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            message = f"The serving layer does not answer {method} {path}: {error!r}."
            raise UserError(message, exit_code=EXIT_UNAVAILABLE) from error

    def _connection(self) -> http.client.HTTPConnection:
        found: http.client.HTTPConnection | None = getattr(self._local, "connection", None)
        if found is None:
            found = http.client.HTTPConnection(self._host, self._port, timeout=TIMEOUT_SECONDS)
            self._local.connection = found
            self._opened.append(found)
        now = time.monotonic()
        if now - getattr(self._local, "used", now) > IDLE_SECONDS:
            # The next request opens it anew.
            found.close()
        self._local.used = now
        return found


def _refused(path: str, status: int, body: bytes) -> UserError:
    told = body.decode(errors="replace")[:500]
    return UserError(f"The serving layer answers {status} to {path}: {told}")
