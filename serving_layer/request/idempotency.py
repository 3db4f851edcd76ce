"""``Idempotency-Key``: a write that is sent again is not written again.

What was answered under a key is remembered for an hour, up to a number of keys, by all workers of
one service: of several replicas a client has to stay with one, and after a restart a key is new.
A write whose outcome is not known (503 ``outcome_unknown``) stays so under its key: whether Kafka
has it nobody can say, and sending it again could double it.
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
#: How long a key is remembered, and about how many are; the oldest give way.
KEEP_SECONDS = 3600.0
MAX_KEYS = 50_000

_KEY = re.compile(r"[\x21-\x7e]{1,255}")


class _State(IntEnum):
    """How far a write under a key is."""

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
        content = _content()
        if self._begin(key, content):
            self._finish(key, content, write)
            return False
        return True

    def _begin(self, key: tuple[str, str], content: bytes) -> bool:
        """Note a new write; False where it was done before."""
        with self._writes.record(*key) as record:
            if record.fields is None:
                record.put(self._clock() + KEEP_SECONDS, content, _State.BEGUN, os.getpid())
                return True
            known, state, process = record.fields
        if known != content:
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
    """Whether the worker that began a write is still there to end it."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, 0)
        return True
    return False


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
