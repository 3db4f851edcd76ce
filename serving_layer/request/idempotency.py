"""``Idempotency-Key``: a repeated request with the same key writes nothing.

The workers of a service share the keys and keep a bounded number of them for an hour.  Replicas
do not share them, so a client must stay with one replica, and a restart drops them.  If the
outcome of a write is unknown (503 ``outcome_unknown``), requests that repeat its key get the
same reply: Kafka may have the records, and sending them again could duplicate them.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import time
from collections.abc import Callable
from enum import IntEnum

from flask import g, request

from serving_layer.access.shared_ttl_table import SharedTtlTable
from serving_layer.http.errors import RETRY_SECONDS, ApiError

HEADER = "Idempotency-Key"
#: Lifetime of a key, and the approximate number of keys kept; the oldest are dropped first.
KEEP_SECONDS = 3600.0
MAX_KEYS = 50_000

_KEY = re.compile(r"[\x21-\x7e]{1,255}")


class _State(IntEnum):
    """The state of the write under a key."""

    BEGUN, DONE, UNKNOWN = range(3)


class Writes:
    """The writes of one service, by their keys.

    Parameters
    ----------
    clock : callable
        Seconds, never going back, the same in all processes.
    max_keys : int
        About how many keys are remembered.
    """

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, max_keys: int = MAX_KEYS
    ) -> None:
        self._clock = clock
        #: A hash of the request, how far it is, and the process that does it.
        self._writes = SharedTtlTable("32sBI", max_keys, clock)

    def once(self, write: Callable[[], None]) -> bool:
        """Perform the current request's write, unless it has been done under its key.

        Returns
        -------
        bool
            Whether the write had been done before.

        Raises
        ------
        ApiError
            409 ``idempotency_conflict`` if the key belongs to another request, 409
            ``in_progress``, 400 ``bad_idempotency_key``, and the errors of `write`.
        """
        idempotency_key = request.headers.get(HEADER)
        if idempotency_key is None:
            write()
            return False
        if not _KEY.fullmatch(idempotency_key):
            message = f"the {HEADER} is not 1 to 255 visible ASCII characters"
            raise ApiError(400, "bad_idempotency_key", message)
        key = (g.user.name if "user" in g else "", idempotency_key)
        content = _content()
        if self._begin(key, content):
            self._finish(key, content, write)
            return False
        return True

    def _begin(self, key: tuple[str, str], content: bytes) -> bool:
        """Record the beginning of a new write; False if it has been done before."""
        with self._writes.record(*key) as record:
            if record.fields is None:
                record.put(self._clock() + KEEP_SECONDS, content, _State.BEGUN, os.getpid())
                return True
            recorded, state, process = record.fields
        if recorded != content:
            message = f"this {HEADER} stands for another request: take a new one"
            raise ApiError(409, "idempotency_conflict", message)
        if state == _State.BEGUN and _runs(process):
            message = f"the first request with this {HEADER} is not finished"
            raise ApiError(409, "in_progress", message, headers={"Retry-After": "1"})
        if state != _State.DONE:
            message = f"the first request with this {HEADER} may have been written, or not"
            headers = {"Retry-After": str(RETRY_SECONDS)}
            raise ApiError(503, "outcome_unknown", message, headers=headers)
        return False

    def _finish(self, key: tuple[str, str], content: bytes, write: Callable[[], None]) -> None:
        try:
            write()
        except BaseException as error:
            if isinstance(error, ApiError) and error.error_code == "outcome_unknown":
                self._note(key, content, _State.UNKNOWN)
            else:
                # Nothing was written: the same key may try again.
                with self._writes.record(*key) as record:
                    record.put(0.0, b"", _State.BEGUN, 0)
            raise
        self._note(key, content, _State.DONE)

    def _note(self, key: tuple[str, str], content: bytes, state: _State) -> None:
        with self._writes.record(*key) as record:
            record.put(self._clock() + KEEP_SECONDS, content, state, os.getpid())


def _runs(process: int) -> bool:
    """Whether the process of the worker that began a write is alive."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, 0)
        return True
    return False


def keep_body() -> None:
    """Cache the body of a request with a key, for its hash; call it before reading the body."""
    if "HTTP_IDEMPOTENCY_KEY" in request.environ:
        request.get_data()


def _content() -> bytes:
    """Return a hash of the current request's method, path, types and body."""
    parts = (
        request.method.encode(),
        request.full_path.encode(),
        request.headers.get("Content-Type", "").encode(),
        request.headers.get("Content-Encoding", "").encode(),
        request.get_data(),
    )
    return hashlib.sha256(b"\0".join(parts)).digest()
