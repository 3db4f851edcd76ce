"""Retries requests that a broker refuses temporarily, and waits for conditions."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from common.broker.api import BrokerError

T = TypeVar("T")

PAUSE_SECONDS = 0.02


def retry(request: Callable[[], T], seconds: float) -> T:
    """Return the result of `request`; repeat it for up to `seconds` while its error is retriable.

    For example, a topic that was just created may have no leader yet on some brokers.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            return request()
        except BrokerError as error:
            if not error.retriable or time.monotonic() > deadline:
                raise
        time.sleep(PAUSE_SECONDS)


def wait_for(condition: Callable[[], bool], seconds: float, what: str) -> None:
    """Wait until `condition` holds.

    Raises
    ------
    BrokerError
        If it does not hold within `seconds`; the text says `what` was waited for.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            message = f"waited {seconds:g} s for {what}"
            raise BrokerError(message, retriable=True)
        time.sleep(PAUSE_SECONDS)
