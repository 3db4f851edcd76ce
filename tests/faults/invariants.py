"""The invariants I1 to I7: what holds after every fault.

Each function compares evidence, raises AssertionError where it does not agree, and returns what
it has counted.  A comparison of nothing is an error too: counts are never zero.
"""

from __future__ import annotations

import fcntl
import operator
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from tests.faults.harm import group_members
from tests.faults.ledger import Outcomes

#: Partition and offset of an input record.
Coordinate = tuple[int, int]


class Reply(NamedTuple):
    """One reply to a query; status 0 where nobody answered."""

    path: str
    status: int
    generation: int | None
    body: str


def acknowledged_once(outcomes: Outcomes, topic: Mapping[str, int]) -> dict[str, int]:
    """I1: every acknowledged event is in the topic once, and no failed one is.

    Parameters
    ----------
    outcomes : Outcomes
        The client's ledger.
    topic : mapping of str to int
        How often the topic holds each event id.
    """
    counts = Counter(topic)
    lost = sorted(id_ for id_ in outcomes.acknowledged if not counts[id_])
    doubled = sorted(id_ for id_ in outcomes.acknowledged if counts[id_] > 1)
    written = sorted(id_ for id_ in outcomes.failed if counts[id_])
    assert not lost, f"I1: {len(lost)} acknowledged events are lost: {lost[:5]}"
    assert not doubled, f"I1: {len(doubled)} acknowledged events are doubled: {doubled[:5]}"
    assert not written, f"I1: {len(written)} failed events are in the topic: {written[:5]}"
    found = {"acknowledged": len(outcomes.acknowledged), "in the topic": counts.total()}
    return _counted("I1", found) | {
        "failed": len(outcomes.failed),
        "unknown": len(outcomes.unknown),
        "unknown in the topic": sum(counts[id_] > 0 for id_ in outcomes.unknown),
    }


def history_is_whole(
    rows: Collection[Coordinate],
    letters: Collection[Coordinate],
    consumed: Mapping[int, tuple[int, int]],
) -> dict[str, int]:
    """I2: no row is there twice, and rows and dead letters cover what was consumed.

    Parameters
    ----------
    rows : collection of (partition, offset)
        The history.
    letters : collection of (partition, offset)
        What the batch layer has set aside, each as often as it did.
    consumed : mapping of int to (int, int)
        For each partition the first offset and the one past the last.
    """
    doubled = [row for row, count in Counter(rows).items() if count > 1]
    assert not doubled, f"I2: {len(doubled)} rows are there twice: {sorted(doubled)[:5]}"
    expected, found = _offsets(consumed), {*rows, *letters}
    missing, foreign = sorted(expected - found), sorted(found - expected)
    assert not missing, f"I2: {len(missing)} records are missing: {missing[:5]}"
    assert not foreign, f"I2: {len(foreign)} records were never consumed: {foreign[:5]}"
    return _counted("I2", {"rows": len(rows), "consumed": len(expected)})


def set_aside_or_kept(
    rows: Collection[Coordinate],
    letters: Mapping[str, Collection[Coordinate]],
    consumed: Mapping[int, tuple[int, int]],
) -> dict[str, int]:
    """I3: each consumed record is in the history or among each layer's dead letters, never both.

    Parameters
    ----------
    rows, consumed
        As for :func:`history_is_whole`.
    letters : mapping of str to collection of (partition, offset)
        For each layer what it has set aside; a repeated letter counts once.
    """
    _counted("I3", {"layers": len(letters)})
    for layer, given in letters.items():
        both = sorted(set(rows) & set(given))
        assert not both, f"I3: {len(both)} records that {layer} set aside were kept: {both[:5]}"
        found = len(set(rows)) + len(set(given))
        expected = len(_offsets(consumed))
        assert found == expected, f"I3: {layer}: {found} records of {expected}"
    aside = sum(len(set(given)) for given in letters.values())
    return _counted("I3", {"rows": len(set(rows)), "set aside": aside})


def replies_are_true(
    replies: Iterable[Reply],
    oracle: Callable[[int, str], str],
    complete: Collection[int],
    same: Callable[[str, str], bool] = operator.eq,
) -> dict[str, int]:
    """I4: each reply is the oracle's for its generation, which is complete and never an older one.

    Parameters
    ----------
    replies : iterable of Reply
        Of one client, in order; those that are not 200 say nothing of a model.
    oracle : callable
        Returns the body that a generation gives for a path.
    complete : collection of int
        Generations that may be served.
    same : callable
        Whether a body is what the oracle says.
    """
    newest, judged, seen = 0, 0, set()
    for reply in replies:
        if reply.status != 200:
            continue
        assert reply.generation is not None, f"I4: no generation is stated: {reply}"
        assert reply.generation in complete, f"I4: a generation that is not complete: {reply}"
        assert reply.generation >= newest, f"I4: after generation {newest} an older one: {reply}"
        expected = oracle(reply.generation, reply.path)
        assert same(reply.body, expected), f"I4: {reply}, but the oracle says {expected!r}"
        newest, judged = reply.generation, judged + 1
        seen.add(reply.generation)
    return _counted("I4", {"replies": judged, "generations": len(seen)})


def recovers(condition: Callable[[], object], what: str, seconds: float = 60.0) -> float:
    """I5: the condition comes true within a minute, with nothing done by hand.

    Returns
    -------
    float
        Seconds that it took.
    """
    began = time.monotonic()
    while not condition():
        waited = time.monotonic() - began
        assert waited < seconds, f"I5: {what}: not in {seconds:.0f} s"
        time.sleep(0.05)
    return time.monotonic() - began


def nothing_is_left(
    folders: Collection[Path],
    groups: Collection[int],
    locks: Collection[Path] = (),
    seconds: float = 10.0,
) -> dict[str, int]:
    """I6: no temporary file that readers could see, no process without a parent, no held lock.

    Parameters
    ----------
    folders : collection of Path
        Where history and generations lie.
    groups : collection of int
        Process groups that have ended.
    locks : collection of Path
        Files of locks that nobody should hold any more.
    seconds : float
        How long a group may take to end after its leader: Java ends a moment after its Python.
    """
    files = [(folder, path) for folder in folders for path in folder.rglob("*") if path.is_file()]
    left = [path for folder, path in files if _is_temporary(path.relative_to(folder))]
    assert not left, f"I6: temporary files are left: {left[:5]}"
    deadline = time.monotonic() + seconds
    for group in groups:
        while running := group_members(group):
            message = f"I6: processes {running} of group {group} still run"
            assert time.monotonic() < deadline, message
            time.sleep(0.05)
    for path in locks:
        with path.open("r+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                message = f"I6: {path} is still held"
                raise AssertionError(message) from None
    return _counted("I6", {"files": len(files), "groups": len(groups)}) | {"locks": len(locks)}


def reads_stay_good(replies: Collection[Reply]) -> dict[str, int]:
    """I7: every query was answered with 200."""
    bad = [reply for reply in replies if reply.status != 200]
    assert not bad, f"I7: {len(bad)} of {len(replies)} reads failed: {bad[:3]}"
    return _counted("I7", {"reads": len(replies)})


def _is_temporary(path: Path) -> bool:
    return path.suffix == ".tmp" or bool({"_temporary", ".partial"} & set(path.parts))


def _offsets(consumed: Mapping[int, tuple[int, int]]) -> set[Coordinate]:
    return {(p, at) for p, (begin, end) in consumed.items() for at in range(begin, end)}


def _counted(invariant: str, counts: dict[str, int]) -> dict[str, int]:
    """Return the counts; none of them may be zero."""
    nothing = [name for name, count in counts.items() if not count]
    assert not nothing, f"{invariant}: nothing was compared ({', '.join(nothing)} is 0)"
    return counts
