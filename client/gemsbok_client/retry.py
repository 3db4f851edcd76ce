"""Retries requests, but only if repeating them cannot write anything twice.

A request that writes nothing is repeated after a broken connection and after 429, 502, 503 and
504.  Events are sent again only if none of them was written: the connection failed, 429, or a
503 that says so.  Delays are random, with an upper limit that doubles with each attempt, so that
many clients do not return at the same time; ``Retry-After`` is a lower bound.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

import httpx

from gemsbok_client.errors import error_document

#: Request extension: True if a POST may be repeated, False if the request must not be repeated.
REPEAT = "gemsbok.repeat"
#: Codes of a 503 reply that mean that nothing was written.
NOTHING_WRITTEN = frozenset({"overloaded", "broker_unavailable"})
#: Transient statuses.
PASSING = frozenset({429, 502, 503, 504})

_UNSENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
_BROKEN = (httpx.TimeoutException, httpx.NetworkError, httpx.RemoteProtocolError)


@dataclass(frozen=True)
class Retry:
    """Number and delays of attempts.

    Attributes
    ----------
    attempts : int
        Largest number of attempts; 1 never retries.
    first : float
        Upper limit of the first delay in seconds; doubled for each later one.
    longest : float
        Upper limit of any delay in seconds; a longer ``Retry-After`` ends the attempts.
    """

    attempts: int = 5
    first: float = 0.2
    longest: float = 30.0

    def wait(self, attempt: int, asked: float, draw: float) -> float:
        """Return the seconds to wait after an attempt.

        Parameters
        ----------
        attempt : int
            Number of the attempt, from 1.
        asked : float
            Seconds of the server's ``Retry-After``.
        draw : float
            A random number from 0 to 1.
        """
        backoff = min(self.longest, self.first * 2.0 ** (attempt - 1))
        return min(self.longest, asked + backoff * draw)


class RetryingTransport(httpx.BaseTransport):
    """A transport that retries requests.

    Parameters
    ----------
    inner : httpx.BaseTransport
        Sends a request once.
    retry : Retry
        Number and delays of attempts.
    sleep, draw : callable, optional
        Waits for seconds; returns a random number from 0 to 1.
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
        """Send a request until the reply is final or the attempts are used up."""
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
    """Return whether a request writes nothing, so that it may be repeated."""
    return request.method in ("GET", "HEAD") or bool(request.extensions.get(REPEAT))


def _may_repeat(request: httpx.Request, response: httpx.Response) -> bool:
    if response.status_code not in PASSING:
        return False
    return response.status_code == 429 or is_safe(request) or nothing_written(response)


def nothing_written(response: httpx.Response) -> bool:
    """Return whether an error reply says that no event was written."""
    response.read()
    return error_document(response).get("code") in NOTHING_WRITTEN


def retry_after(response: httpx.Response, now: Callable[[], float] = time.time) -> float:
    """Return the seconds of ``Retry-After``; 0 if it is absent."""
    text = response.headers.get("Retry-After", "0")
    if text.isdigit():
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - now())
    except ValueError:
        return 0.0
