"""A client's ledger on disk: which events it sent, and what it was told of each.

Every line is on the disk before the client goes on, so the ledger tells the truth also about a
client that is killed: an event without an outcome has an unknown one.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

SENT = "sent"
ACKNOWLEDGED = "acknowledged"
FAILED = "failed"
UNKNOWN = "unknown"


class LedgerError(ValueError):
    """A ledger that contradicts itself."""


@dataclass(frozen=True)
class Outcomes:
    """What became of the events of one ledger; every event is in exactly one of the sets.

    Attributes
    ----------
    acknowledged : frozenset of str
        Ids that the service has promised to keep.
    failed : frozenset of str
        Ids that the service has promised not to have written.
    unknown : frozenset of str
        Ids without a reply, or with one that promises neither.
    """

    acknowledged: frozenset[str]
    failed: frozenset[str]
    unknown: frozenset[str]


class Ledger:
    """Appends to a file of JSON lines; several threads may write.

    Parameters
    ----------
    path : Path
        The file; a ledger that is there is continued, and its ids are not used again.
    name : str
        What the ids begin with: unique among the clients of a topic.
    """

    def __init__(self, path: Path, name: str) -> None:
        self.path = path
        self._name = name
        self._lock = threading.Lock()
        self._next = 0
        if path.exists():
            # A line that its writer did not finish would swallow the next one.
            whole = path.read_bytes().rpartition(b"\n")
            os.truncate(path, len(whole[0]) + len(whole[1]))
            self._next = sum(len(ids) for event, ids, _ in _lines(path) if event == SENT)
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def __enter__(self) -> Ledger:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def send(self, count: int) -> list[str]:
        """Return `count` new ids, which are on record as sent."""
        with self._lock:
            ids = [f"{self._name}-{self._next + at:06d}" for at in range(count)]
            self._next += count
            self._append(SENT, ids)
        return ids

    def note(self, outcome: str, ids: Sequence[str], why: str = "") -> None:
        """Record what the client was told of events that it sent."""
        with self._lock:
            self._append(outcome, ids, why)

    def outcomes(self) -> Outcomes:
        """Return what became of all events so far."""
        return read_outcomes(self.path)

    def close(self) -> None:
        """Close the file; further calls do nothing."""
        file, self._file = self._file, -1
        if file >= 0:
            os.close(file)

    def _append(self, event: str, ids: Sequence[str], why: str = "") -> None:
        line = json.dumps({"event": event, "ids": list(ids), "why": why}) + "\n"
        os.write(self._file, line.encode())
        os.fsync(self._file)


def read_outcomes(path: Path) -> Outcomes:
    """Read a ledger.

    Raises
    ------
    LedgerError
        If an id was sent twice, has two outcomes, or has one and was never sent.
    """
    sent: set[str] = set()
    told: dict[str, str] = {}
    for event, ids, _ in _lines(path):
        for id_ in ids:
            if event == SENT:
                if id_ in sent:
                    message = f"{id_} was sent twice"
                    raise LedgerError(message)
                sent.add(id_)
            elif id_ not in sent or id_ in told:
                message = f"{id_} is {event}, but it was never sent or is {told.get(id_)} already"
                raise LedgerError(message)
            else:
                told[id_] = event
    return Outcomes(
        frozenset(id_ for id_, event in told.items() if event == ACKNOWLEDGED),
        frozenset(id_ for id_, event in told.items() if event == FAILED),
        frozenset(id_ for id_ in sent if told.get(id_, UNKNOWN) == UNKNOWN),
    )


def _lines(path: Path) -> Iterator[tuple[str, list[str], str]]:
    for line in path.read_bytes().split(b"\n")[:-1]:
        found = json.loads(line)
        yield found["event"], found["ids"], found["why"]
