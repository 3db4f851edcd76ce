"""When a request is sent again: only where that cannot do anything twice.

A request that changes nothing is sent again after a broken connection and after 429, 502, 503
and 504.  Events are sent again only where none of them was written: no connection came about,
429, or a 503 that says so.  Waiting doubles from one attempt to the next, by a random part of
it, so that many clients do not come back at once; ``Retry-After`` is a lower bound.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

import httpx

from gemsbok_client.errors import error_document

#: Extension of a request: True if it may be sent twice though it is a POST, False if it is not
#: to be sent again whatever comes.
REPEAT = "gemsbok.repeat"
#: Codes of 503 with which the server says that nothing was written.
NOTHING_WRITTEN = frozenset({"overloaded", "broker_unavailable"})
#: Statuses that may be others when the request is sent again.
PASSING = frozenset({429, 502, 503, 504})

_UNSENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
_BROKEN = (httpx.TimeoutException, httpx.NetworkError, httpx.RemoteProtocolError)


@dataclass(frozen=True)
class Retry:
    """How often and when a request is sent again.

    Attributes
    ----------
    attempts : int
        Times that a request is sent at most; 1 never sends again.
    first : float
        Seconds of the first wait at most; each later one is up to twice as long.
    longest : float
        Seconds of any wait at most; a ``Retry-After`` beyond it ends the attempts.
    """

    attempts: int = 5
    first: float = 0.2
    longest: float = 30.0

    def wait(self, attempt: int, asked: float, draw: float) -> float:
        """Return the seconds to wait after an attempt.

        Parameters
        ----------
        attempt : int
            Counted from 1.
        asked : float
            Seconds that the server has asked for.
        draw : float
            A random number from 0 to 1.
        """
        backoff = min(self.longest, self.first * 2.0 ** (attempt - 1))
        return min(self.longest, asked + backoff * draw)


class RetryingTransport(httpx.BaseTransport):
    """A transport that sends requests again as `retry` says.

    Parameters
    ----------
    inner : httpx.BaseTransport
        Sends a request once.
    retry : Retry
        How often and when.
    sleep, draw : callable, optional
        Wait for seconds; return a random number from 0 to 1.
    """

    def __init__(
        self,
        inner: httpx.BaseTransport,
        retry: Retry,
        sleep: Callable[[float], None] = time.sleep,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._inner = inner
        self._retry = retry
        self._sleep = sleep
        self._draw = draw

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request until it is answered for good or the attempts are over."""
        request.read()
        attempts = 1 if request.extensions.get(REPEAT) is False else self._retry.attempts
        for attempt in range(1, attempts):
            try:
                response = self._inner.handle_request(request)
            except httpx.TransportError as error:
                if not isinstance(error, _BROKEN if is_safe(request) else _UNSENT):
                    raise
                asked = 0.0
            else:
                asked = retry_after(response)
                if asked > self._retry.longest or not _may_repeat(request, response):
                    return response
                response.close()
            self._sleep(self._retry.wait(attempt, asked, self._draw()))
        return self._inner.handle_request(request)

    def close(self) -> None:
        """Close the connections."""
        self._inner.close()


def is_safe(request: httpx.Request) -> bool:
    """Tell whether a request changes nothing, so that it may be sent twice."""
    return request.method in ("GET", "HEAD") or bool(request.extensions.get(REPEAT))


def _may_repeat(request: httpx.Request, response: httpx.Response) -> bool:
    if response.status_code not in PASSING:
        return False
    return response.status_code == 429 or is_safe(request) or nothing_written(response)


def nothing_written(response: httpx.Response) -> bool:
    """Tell whether an error says that no event was written."""
    response.read()
    return error_document(response).get("code") in NOTHING_WRITTEN


def retry_after(response: httpx.Response, now: Callable[[], float] = time.time) -> float:
    """Return the seconds that ``Retry-After`` asks for; 0 where there is none."""
    text = response.headers.get("Retry-After", "0")
    if text.isdigit():
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - now())
    except ValueError:
        return 0.0
