"""The states of all workers in shared memory, so that any worker can answer ``/ready``.

``/ready`` replies 503 while a worker that takes requests has no model.  A restarted worker takes
requests only when it has a model, unless no other worker can answer.
"""

from __future__ import annotations

import mmap
from enum import IntEnum

from flask import current_app

#: Key of the `WorkerStatus` in the application's extensions, if there are several workers.
KEY = "gemsbok-board"


class State(IntEnum):
    """A worker's state: it has no model yet, it has one, or it takes no requests."""

    LOADING, READY, AWAY = range(3)


class WorkerStatus:
    """The last reported state of each worker, in shared memory; initially ``LOADING``.

    Parameters
    ----------
    workers : int
        Number of workers; they are numbered from 1.
    """

    def __init__(self, workers: int) -> None:
        self._states = mmap.mmap(-1, 1 + workers)
        self._workers = range(1, 1 + workers)

    def note(self, worker: int, state: State) -> None:
        """Set a worker's state."""
        self._states[worker] = state

    def workers_in(self, state: State) -> list[int]:
        """Return the numbers of the workers in a state."""
        return [worker for worker in self._workers if self._states[worker] == state]


def others_missing() -> str | None:
    """Return the reason why a worker cannot answer yet; None if all can."""
    statuses: WorkerStatus | None = current_app.extensions.get(KEY)
    loading = statuses.workers_in(State.LOADING) if statuses else []
    return f"worker {loading[0]} has not loaded the model yet" if loading else None
