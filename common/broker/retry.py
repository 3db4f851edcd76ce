"""Trying again what a broker refuses for the moment only."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from common.broker.api import BrokerError

T = TypeVar("T")

PAUSE_SECONDS = 0.02


def retry(ask: Callable[[], T], seconds: float) -> T:
    """Return what `ask` returns, asking again for so many seconds while its error is retriable.

    A topic that was just created has no leader yet, or not everywhere.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            return ask()
        except BrokerError as error:
            if not error.retriable or time.monotonic() > deadline:
                raise
        time.sleep(PAUSE_SECONDS)


def wait_for(condition: Callable[[], bool], seconds: float, what: str) -> None:
    """Wait until `condition` holds.

    Raises
    ------
    BrokerError
        If it does not within so many seconds; the text names `what` was waited for.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            message = f"waited {seconds:g} s for {what}"
            raise BrokerError(message, retriable=True)
        time.sleep(PAUSE_SECONDS)
