"""Processes in the background: started detached, found again, stopped; never a stranger's.

A pid file alone is not enough: after a reboot or a long time its number is another
process's.  The time at which the process started goes into it too.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from stack.errors import EXIT_UNAVAILABLE, UserError
from stack.files import last_lines, write_atomically
from stack.identity import start_mark

POLL_SECONDS = 0.05
KILL_TIMEOUT_SECONDS = 10.0
GROUP_TIMEOUT_SECONDS = 5.0


@dataclass(frozen=True)
class Running:
    """A process that was started here.

    Attributes
    ----------
    pid : int
        Its number; also that of its process group.
    started : str
        When it started, as the system tells it; tells it from a later one of its number.
    since : float
        The same in seconds since 1970.
    address : str
        Where it listens, ``host:port``; empty where it does not.
    """

    pid: int
    started: str
    since: float
    address: str = ""

    def is_alive(self) -> bool:
        """Whether this very process still runs."""
        return start_mark(self.pid) == self.started


class Background:
    """One named process; its pid file is ``home/run/<name>.json``, its log in ``home/logs``.

    Parameters
    ----------
    home : Path
        State folder.
    name : str
        What it is: ``batch``, ``speed``, ``serving``.
    group_seconds : float
        What the processes that it has started get to end after it; then they are killed.
    """

    def __init__(self, home: Path, name: str, group_seconds: float = GROUP_TIMEOUT_SECONDS) -> None:
        self.name = name
        self._group_seconds = group_seconds
        self.log = home / "logs" / f"{name}.log"
        self._pid_file = home / "run" / f"{name}.json"
        self._log_start = 0

    def find(self) -> Running | None:
        """Return the process if it runs."""
        try:
            found = Running(**json.loads(self._pid_file.read_text(encoding="utf-8")))
        except (FileNotFoundError, ValueError, TypeError):
            return None
        return found if found.is_alive() else None

    def start(
        self, command: Sequence[str], environment: Mapping[str, str], address: str = ""
    ) -> Running:
        """Start the process, detached from this one; its output goes to its log.

        Raises
        ------
        UserError
            If the program cannot be started, or ended at once.
        """
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self._pid_file.parent.mkdir(parents=True, exist_ok=True)
        self.note_log()
        try:
            pid = _spawn(command, environment, self.log)
        except OSError as error:
            message = f"The {self.name} layer cannot be started: {error}."
            raise UserError(message, exit_code=EXIT_UNAVAILABLE) from error
        mark = start_mark(pid)
        if mark is None:
            raise self.failure()
        running = Running(pid, mark, time.time(), address)
        write_atomically(self._pid_file, json.dumps(asdict(running)))
        return running

    def stop(self, timeout_seconds: float) -> bool:
        """Stop the process: ask by SIGTERM, and kill its group after `timeout_seconds`.

        Returns
        -------
        bool
            False when it did not run.
        """
        running = self.find()
        if running is not None:
            os.kill(running.pid, signal.SIGTERM)
            if not self._ended(running, timeout_seconds):
                os.killpg(running.pid, signal.SIGKILL)
                self._ended(running, KILL_TIMEOUT_SECONDS)
            _end_group(running.pid, self._group_seconds)
        self._pid_file.unlink(missing_ok=True)
        return running is not None

    def note_log(self) -> None:
        """Let :meth:`has_logged` look at what is logged from now on."""
        self._log_start = self.log.stat().st_size if self.log.exists() else 0

    def has_logged(self, mark: bytes) -> bool:
        """Whether the process has written `mark` since it was started from here."""
        return self.log.exists() and mark in self.log.read_bytes()[self._log_start :]

    def failure(self) -> UserError:
        """Return the error that says that the process ended, with the end of its log."""
        message = f"The {self.name} layer ended. Its last words:\n{last_lines(self.log)}"
        return UserError(message, f"See {self.log}.", EXIT_UNAVAILABLE)

    def _ended(self, running: Running, timeout_seconds: float) -> bool:
        deadline = time.monotonic() + timeout_seconds
        while running.is_alive():
            if time.monotonic() > deadline:
                return False
            time.sleep(POLL_SECONDS)
        with contextlib.suppress(ChildProcessError):
            # Only its parent has to bury it.
            os.waitpid(running.pid, os.WNOHANG)
        return True


def _spawn(command: Sequence[str], environment: Mapping[str, str], log: Path) -> int:
    """Start a program in a session of its own, its output appended to `log`."""
    append = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    files = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, str(log), append, 0o644),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]
    return os.posix_spawn(command[0], list(command), environment, file_actions=files, setsid=True)


def _end_group(group: int, timeout_seconds: float) -> None:
    """Wait until what the process has started has ended too, and kill what has not.

    Spark's Java never notices that its Python has gone if that happens while it starts.
    """
    deadline = time.monotonic() + timeout_seconds
    with contextlib.suppress(ProcessLookupError):
        while time.monotonic() < deadline:
            # Signal 0 only asks whether there is anybody.
            os.killpg(group, 0)
            time.sleep(POLL_SECONDS)
        os.killpg(group, signal.SIGKILL)
