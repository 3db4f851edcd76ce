"""Records that cannot be used, one in a hundred, on both topics: F42."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from common.wire.messages import MODEL, PROGRESS, UP
from tests.faults.conftest import Case
from tests.faults.evidence import (
    Reads,
    dead_letters,
    direct,
    folded,
    history,
    range_of,
    records,
)
from tests.faults.invariants import (
    Coordinate,
    history_is_whole,
    reads_stay_good,
    recovers,
    set_aside_or_kept,
)
from tests.integration.stack import Stack
from tests.waiting import wait_until

pytestmark = [
    pytest.mark.faults,
    pytest.mark.integration,
    pytest.mark.jvm,
    pytest.mark.slow,
    pytest.mark.timeout(600),
]

#: Bytes of a line at most.
LIMIT = 1024
#: Input lines that no family takes: without a value, not UTF-8, blank, too long.
POISON: list[bytes | None] = [None, b"\xff\xfe", b"  ", b"x" * (LIMIT + 1)]
#: Records that the update topic's readers cannot use.
POISONED_UPDATES: list[tuple[str | None, bytes | None]] = [
    ("NONSENSE", b"1"),
    (None, b"1"),
    (UP, None),
    (UP, b"\xff"),
    (UP, b"word,many"),
    (PROGRESS, b"{"),
    (MODEL, b"not json"),
]


@pytest.mark.thorough
def test_f42_both_consumers_go_on_past_poison(case: Case) -> None:
    made = case.stack("wordcount", **{"input_topic.max_line_bytes": LIMIT})
    address, names = case.broker.direct_address, made.settings.input_topic
    send(case, names.name, with_poison(case, 0))
    done = made.batch_once()
    assert done.process.returncode == 0, done.log.read_text()
    made.start("serving")
    speed = made.start("speed")
    wait_until(lambda: made.status_of("/ready") == 200, "the model is served")
    with Reads(made.url, ["/distinct/event"], case.folder / "reads.jsonl") as reads:
        for number in range(1, 4):
            send(case, made.settings.update_topic.name, POISONED_UPDATES)
            send(case, names.name, with_poison(case, number))
        end = {p: at for p, (_, at) in range_of(address, names.name).items()}
        update_topic = made.settings.update_topic.name
        recovers(lambda: folded(address, update_topic) == end, "all is folded in", 120)
        recovers(lambda: reads.replies[-1].body == "1584", "all of it is served")
    reads_stay_good(reads.replies)
    poisoned = unusable(case, made)
    assert len(poisoned) == 3 * len(POISONED_UPDATES)
    letters = made.settings.update_topic.dead_letter

    def all_set_aside() -> bool:
        # The speed layer looks at what others have sent when events come.
        send(case, names.name, [("again", b"n0x0 event")])
        return len(records(address, letters)) >= len(poisoned)

    recovers(all_set_aside, "all are set aside")
    assert {layer: sorted(at) for layer, at in dead_letters(address, letters).items()} == {
        "speed": poisoned
    }
    done = made.batch_once()
    assert done.process.returncode == 0, done.log.read_text()
    rows = [(row.partition, row.offset) for row in history(case.folder / "data" / "wordcount")]
    consumed = range_of(address, names.name)
    aside = dead_letters(address, names.dead_letter)
    n_poison = 4 * len(POISON)
    assert history_is_whole(rows, aside["batch"], consumed)["rows"] > 1584
    assert set_aside_or_kept(rows, aside, consumed)["set aside"] == n_poison
    assert speed.stop() == 0, speed.log.read_text()


def with_poison(case: Case, number: int) -> list[tuple[str | None, bytes | None]]:
    """Return 400 lines, one in a hundred of them poison, in an order of the seed's."""
    lines: list[bytes | None] = [f"n{number}x{at} event".encode() for at in range(396)]
    for poison in POISON:
        lines.insert(case.draw.randrange(len(lines)), poison)
    return [(str(at), line) for at, line in enumerate(lines)]


def send(case: Case, topic: str, pairs: Iterable[tuple[str | None, bytes | None]]) -> None:
    """Put records on a topic past serving and the proxy, also such as the layers never write."""
    with direct(case.broker.direct_address) as broker:
        producer = broker.producer()
        for key, value in pairs:
            producer.send(topic, key, value)  # type: ignore[arg-type]
        producer.flush()
        producer.close()


def unusable(case: Case, made: Stack) -> list[Coordinate]:
    """Return where the update topic's poison lies."""
    given = {(key and key.encode(), value) for key, value in POISONED_UPDATES}
    found = records(case.broker.direct_address, made.settings.update_topic.name)
    return [(r.partition, r.offset) for r in found if (r.key, r.value) in given]
