"""The users that may log in: read from their file, and again when it has changed."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from common.config.credentials import CredentialsError, User, read_users

log = logging.getLogger(__name__)

#: Seconds between two looks at the file: so long a removed user may still log in.
LOOK_SECONDS = 1.0


@dataclass(frozen=True)
class Known:
    """The users of one state of the file, by what a request brings."""

    by_token: dict[str, User]
    by_name: dict[str, User]

    @classmethod
    def of(cls, users: list[User]) -> Known:
        """Index users: bearers by their token's hash, the others by name."""
        return cls(
            {user.hash: user for user in users if user.kind == "bearer"},
            {user.name: user for user in users if user.kind == "digest"},
        )


class Users:
    """Follows the file of users.

    Parameters
    ----------
    path : Path
        The file, as ``bin/gemsbok auth add`` writes it.
    clock : callable
        Seconds, never going back.

    Raises
    ------
    CredentialsError
        If the file cannot be used at the start.  Later the users stay those that were read
        last, and the log says so.
    """

    def __init__(self, path: Path, clock: Callable[[], float]) -> None:
        self._path = path
        self._clock = clock
        self._lock = threading.Lock()
        self._state = self._stat()
        self._looked = clock()
        self._known = Known.of(read_users(path))

    def known(self) -> Known:
        """Return the users of now."""
        now = self._clock()
        if now - self._looked >= LOOK_SECONDS and self._lock.acquire(blocking=False):
            try:
                self._looked = now
                self._read_again()
            finally:
                self._lock.release()
        return self._known

    def _read_again(self) -> None:
        state = self._stat()
        if state == self._state:
            return
        self._state = state
        try:
            self._known = Known.of(read_users(self._path))
            log.info("users read again from %s", self._path)
        except CredentialsError as error:
            log.error("the users stay as they were: %s", error)

    def _stat(self) -> tuple[int, int, int] | None:
        try:
            found = os.stat(self._path)
        except OSError:
            return None
        return found.st_ino, found.st_size, found.st_mtime_ns
