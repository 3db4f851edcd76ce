"""``Idempotency-Key``: a write that is sent again is not written again.

What was answered under a key is remembered for an hour, up to a number of keys, in this process
alone: of several replicas a client has to stay with one, and after a restart a key is new.  A
write whose outcome is not known (503 ``outcome_unknown``) stays so under its key: whether Kafka
has it nobody can say, and sending it again could double it.
"""

from __future__ import annotations

import hashlib
import re
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from flask import g, request

from serving_layer.errors import ApiError

HEADER = "Idempotency-Key"
#: How long a key is remembered, and how many are; the oldest give way.
KEEP_SECONDS = 3600.0
MAX_KEYS = 50_000

_KEY = re.compile(r"[\x21-\x7e]{1,255}")


@dataclass(slots=True)
class _Write:
    """One write under a key: what it was, and once it is over how it ended."""

    content: bytes
    began: float
    over: bool = False
    failure: ApiError | None = None


class Writes:
    """The writes of one application, by their keys."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._writes: OrderedDict[tuple[str, str], _Write] = OrderedDict()

    def once(self, write: Callable[[], None]) -> bool:
        """Do the present request's write, unless it was done before under its key.

        Returns
        -------
        bool
            Whether it had been done before.

        Raises
        ------
        ApiError
            409 ``idempotency_conflict`` where the key stands for another request, 409
            ``in_progress``, 400 ``bad_idempotency_key``, and what `write` raises.
        """
        given = request.headers.get(HEADER)
        if given is None:
            write()
            return False
        if not _KEY.fullmatch(given):
            message = f"the {HEADER} is not 1 to 255 visible ASCII characters"
            raise ApiError(400, "bad_idempotency_key", message)
        key = (g.user.name if "user" in g else "", given)
        begun = self._begin(key, _content())
        if begun is None:
            return True
        self._finish(key, begun, write)
        return False

    def _begin(self, key: tuple[str, str], content: bytes) -> _Write | None:
        """Note a new write; None where it was done before."""
        with self._lock:
            self._forget_old()
            known = self._writes.get(key)
            if known is None:
                self._writes[key] = known = _Write(content, self._clock())
                return known
        if known.content != content:
            message = f"this {HEADER} stands for another request: take a new one"
            raise ApiError(409, "idempotency_conflict", message)
        if not known.over:
            message = f"the first request with this {HEADER} is not finished"
            raise ApiError(409, "in_progress", message, headers={"Retry-After": "1"})
        if known.failure is not None:
            raise known.failure
        return None

    def _finish(self, key: tuple[str, str], begun: _Write, write: Callable[[], None]) -> None:
        try:
            write()
        except BaseException as error:
            if isinstance(error, ApiError) and error.error_code == "outcome_unknown":
                begun.failure = error
                begun.over = True
            else:
                # Nothing was written: the same key may try again.
                self._forget(key, begun)
            raise
        begun.over = True

    def _forget(self, key: tuple[str, str], begun: _Write) -> None:
        with self._lock:
            if self._writes.get(key) is begun:
                del self._writes[key]

    def _forget_old(self) -> None:
        oldest = self._clock() - KEEP_SECONDS
        while self._writes:
            first = next(iter(self._writes.values()))
            if first.began > oldest and len(self._writes) < MAX_KEYS:
                return
            self._writes.popitem(last=False)


def keep_body() -> None:
    """Keep the body of a request with a key, so that it can be compared; before it is read."""
    if "HTTP_IDEMPOTENCY_KEY" in request.environ:
        request.get_data()


def _content() -> bytes:
    """Return a hash of all that makes up the present request."""
    parts = (
        request.method.encode(),
        request.full_path.encode(),
        request.headers.get("Content-Type", "").encode(),
        request.headers.get("Content-Encoding", "").encode(),
        request.get_data(),
    )
    return hashlib.sha256(b"\0".join(parts)).digest()
