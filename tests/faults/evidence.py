"""What a test finds after a fault: topics, dead letters and the history, read without the layers.

The history is read from Delta's log and its Parquet files, so that what the product wrote is not
judged by the code that wrote it.
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from urllib.parse import unquote

import httpx
import pyarrow.parquet as pq

from common.broker import Broker, Record, open_broker
from common.broker.api import read_all
from common.runtime.configuration import load
from common.wire.messages import PROGRESS, Message, MessageError, Progress
from tests.faults.invariants import Coordinate, Reply


@contextmanager
def direct(address: str) -> Iterator[Broker]:
    """Open a broker past the proxy."""
    settings = load(flags={"input_topic.broker": address}, environment={})
    with open_broker(settings) as broker:
        yield broker


def records(address: str, topic: str) -> list[Record]:
    """Return all records of a topic."""
    with direct(address) as broker:
        reader = broker.reader(topic)
        try:
            return list(read_all(reader, broker.end_offsets(topic)))
        finally:
            reader.close()


def range_of(address: str, topic: str) -> dict[int, tuple[int, int]]:
    """For each partition the first offset and the one past the last."""
    with direct(address) as broker:
        begin, end = broker.begin_offsets(topic), broker.end_offsets(topic)
    return {partition: (begin[partition], end[partition]) for partition in begin}


def event_ids(address: str, topic: str) -> Counter[str]:
    """Count the first words of a topic's lines, which are the ids of a ledger's events."""
    return Counter(
        record.value.decode().split()[0]
        for record in records(address, topic)
        if record.value is not None
    )


def dead_letters(address: str, topic: str) -> dict[str, list[Coordinate]]:
    """For each layer the coordinates of what it has set aside, in order, repeats included."""
    found: dict[str, list[Coordinate]] = {}
    for record in records(address, topic):
        headers = dict(record.headers)
        at = int(headers["partition"]), int(headers["offset"])
        found.setdefault(headers["layer"].decode(), []).append(at)
    return found


def folded(address: str, topic: str) -> dict[int, int]:
    """Return the input offsets that the newest PROGRESS of an update topic names."""
    found = Progress()
    for record in records(address, topic):
        try:
            message = Message.from_record(record.key, record.value, record.headers)
        except MessageError:
            continue
        if message.key == PROGRESS and message.stamp is not None:
            found = Progress.from_value(message.value)
    return dict(found.offsets)


@dataclass(frozen=True)
class Row:
    """One row of the history."""

    topic_id: str
    partition: int
    offset: int
    value: str


def history(folder: Path) -> list[Row]:
    """Return the rows of a Delta table of which nothing was deleted; none where there is no table.

    Parameters
    ----------
    folder : Path
        The table's.
    """
    files: set[str] = set()
    for commit in sorted((folder / "_delta_log").glob("*.json")):
        for action in map(json.loads, commit.read_text().splitlines()):
            if "add" in action:
                assert not action["add"].get("deletionVector"), "rows were deleted"
                files.add(action["add"]["path"])
            elif "remove" in action:
                files.discard(action["remove"]["path"])
    columns = ["topic_id", "partition", "offset", "value"]
    return [
        Row(**row)
        for name in sorted(files)
        for row in pq.ParquetFile(folder / unquote(name)).read(columns).to_pylist()
    ]


class Reads:
    """Asks a serving layer the same questions again and again, on a thread of its own.

    Parameters
    ----------
    url : str
        Of the serving layer.
    paths : sequence of str
        What to ask, in turn.
    log : Path
        File that every reply is added to, as JSON lines.
    """

    def __init__(self, url: str, paths: Sequence[str], log: Path) -> None:
        self.replies: list[Reply] = []
        self._url = url
        self._paths = paths
        self._log = log
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reads")

    def __enter__(self) -> Reads:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join(60)

    def generations(self) -> set[int]:
        """Return the generations that have answered with 200 so far."""
        return {r.generation for r in self.replies if r.status == 200 and r.generation is not None}

    def _run(self) -> None:
        with httpx.Client(base_url=self._url, timeout=30) as client, self._log.open("a") as log:
            while not self._stop.is_set():
                for path in self._paths:
                    reply = ask(client, path)
                    self.replies.append(reply)
                    log.write(json.dumps(reply._asdict()) + "\n")
                # A question now and then; the processes of the test need the machine.
                self._stop.wait(0.02)


def ask(client: httpx.Client, path: str) -> Reply:
    """Ask once."""
    try:
        reply = client.get(path, headers={"Accept": "application/json"})
    except httpx.TransportError as error:
        return Reply(path, 0, None, repr(error))
    stated = reply.headers.get("X-Model-Generation")
    return Reply(path, reply.status_code, int(stated) if stated else None, reply.text)
