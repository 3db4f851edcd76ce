"""How the workers of one service are, so that any of them can say whether the service is ready.

``/ready`` says 503 while a worker that takes requests has no model to answer with.  One that was
started in place of another takes none before it has, unless no worker could answer.
"""

from __future__ import annotations

import mmap
from enum import IntEnum

from flask import current_app

#: Where the application keeps its board, if it has one.
KEY = "gemsbok-board"


class State(IntEnum):
    """What a worker says of itself: it has no model yet, it has one, or it takes no requests."""

    LOADING, READY, AWAY = range(3)


class WorkerStatus:
    """What each worker last said of itself, in memory that all share; at first ``LOADING``.

    Parameters
    ----------
    workers : int
        Their number; they are numbered from 1.
    """

    def __init__(self, workers: int) -> None:
        self._states = mmap.mmap(-1, 1 + workers)
        self._workers = range(1, 1 + workers)

    def note(self, worker: int, state: State) -> None:
        """Note a worker's state."""
        self._states[worker] = state

    def those(self, state: State) -> list[int]:
        """Return the numbers of the workers that are in a state."""
        return [worker for worker in self._workers if self._states[worker] == state]


def others_missing() -> str | None:
    """Say which worker of the service cannot answer yet; None if all can."""
    board: WorkerStatus | None = current_app.extensions.get(KEY)
    loading = board.those(State.LOADING) if board else []
    return f"worker {loading[0]} has not loaded the model yet" if loading else None
