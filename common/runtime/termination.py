"""SIGTERM ends a layer in good order, within a time limit."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
from types import FrameType
from typing import NoReturn

log = logging.getLogger(__name__)


class Terminated(BaseException):
    """Raised in the main thread by SIGTERM."""


def raise_on_sigterm(limit_seconds: float) -> None:
    """Let SIGTERM raise :class:`Terminated`; past the limit the process ends all the same.

    Python delivers a signal between two of its own steps, which a long call into compiled
    code holds up; the limit holds then too.  Either way the exit code is 0: whatever is
    abandoned is repaired by the next start, as after a kill.
    """
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    signal.signal(signal.SIGTERM, _raise)
    watch = threading.Thread(
        target=_watch, args=(reader, writer, limit_seconds), name="sigterm", daemon=True
    )
    watch.start()


def _watch(reader: socket.socket, _: socket.socket, limit_seconds: float) -> None:
    # The kernel tells this thread at once, whatever the main one does.
    while signal.SIGTERM not in reader.recv(64):
        pass
    threading.Event().wait(limit_seconds)
    log.warning("work was abandoned: it did not end within %.0f s", limit_seconds)
    os._exit(0)


def _raise(_number: int, _frame: FrameType | None) -> NoReturn:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise Terminated
