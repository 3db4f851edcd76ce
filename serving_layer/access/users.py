"""The users that may log in, reloaded when their file changes."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from common.config.credentials import CredentialsError, User, read_users

log = logging.getLogger(__name__)

#: Interval in seconds of checking the file: for this long a removed user may still log in.
CHECK_SECONDS = 1.0


@dataclass(frozen=True)
class Known:
    """The users in the file, indexed by token hash and by name."""

    by_token: dict[str, User]
    by_name: dict[str, User]

    @classmethod
    def of(cls, users: list[User]) -> Known:
        """Index bearer users by their token's hash and digest users by name."""
        return cls(
            {user.hash: user for user in users if user.kind == "bearer"},
            {user.name: user for user in users if user.kind == "digest"},
        )


class Users:
    """Reloads the file of users when it changes.

    Parameters
    ----------
    path : Path
        The file, as ``bin/gemsbok auth add`` writes it.
    clock : callable
        Monotonic seconds.

    Raises
    ------
    CredentialsError
        If the file cannot be used at the start.  A later failure is logged, and the users read
        before stay valid.
    """

    def __init__(self, path: Path, clock: Callable[[], float]) -> None:
        self._path = path
        self._clock = clock
        self._lock = threading.Lock()
        self._state = self._stat()
        self._checked = clock()
        self._known = Known.of(read_users(path))

    def known(self) -> Known:
        """Return the current users."""
        now = self._clock()
        if now - self._checked >= CHECK_SECONDS and self._lock.acquire(blocking=False):
            try:
                self._checked = now
                self._reload()
            finally:
                self._lock.release()
        return self._known

    def _reload(self) -> None:
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
            status = os.stat(self._path)
        except OSError:
            return None
        return status.st_ino, status.st_size, status.st_mtime_ns
