"""Orderly end of a layer on SIGTERM, within a time limit."""

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
    """Let SIGTERM raise :class:`Terminated`; after the limit, end the process from a thread.

    Python runs a signal handler between two bytecode instructions, so a long call into compiled
    code delays it; the time limit holds even then.  The exit code is 0 in both cases: the next
    start repairs abandoned work, as after a kill.
    """
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    signal.signal(signal.SIGTERM, _raise)
    thread = threading.Thread(
        target=_watch, args=(reader, writer, limit_seconds), name="sigterm", daemon=True
    )
    thread.start()


def _watch(reader: socket.socket, _: socket.socket, limit_seconds: float) -> None:
    # The wakeup descriptor is written at once, even while the main thread is in compiled code.
    while signal.SIGTERM not in reader.recv(64):
        pass
    threading.Event().wait(limit_seconds)
    log.warning("work was abandoned: it did not end within %.0f s", limit_seconds)
    os._exit(0)


def _raise(_number: int, _frame: FrameType | None) -> NoReturn:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise Terminated
