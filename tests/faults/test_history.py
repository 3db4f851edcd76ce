"""From the input topic into the history: F15, F20, F30."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from common.store.generations import ModelStore
from tests.faults import harm
from tests.faults.conftest import Case
from tests.faults.evidence import Row, dead_letters, direct, folded, history, range_of
from tests.faults.generations import commit
from tests.faults.invariants import history_is_whole, nothing_is_left, set_aside_or_kept
from tests.integration.stack import Layer, Stack
from tests.waiting import wait_until

pytestmark = [
    pytest.mark.faults,
    pytest.mark.integration,
    pytest.mark.jvm,
    pytest.mark.slow,
    pytest.mark.timeout(600),
]


@pytest.mark.thorough
def test_f15_a_kill_after_the_commit_of_the_history_doubles_nothing(case: Case) -> None:
    made = case.stack()
    send(case, made, [f"word{number} event" for number in range(200)] + [" "] * 5)
    killed = made.batch_once(harm.fail_at("history.after_commit"))
    assert killed.process.returncode == -signal.SIGKILL, killed.log.read_text()
    send(case, made, [f"late{number} event" for number in range(50)] + [" "])
    done = made.batch_once()
    assert done.process.returncode == 0, done.log.read_text()
    assert judge_history(case, made) == {"rows": 250, "set aside": 6}
    assert len(generations(made)) == 1
    groups = [killed.process.pid, done.process.pid]
    nothing_is_left([case.folder / "model", case.folder / "data"], groups, locks(case))


@pytest.mark.parametrize(
    ("rounds", "seconds"),
    [
        # Beside other tests a process may take that long to start.
        pytest.param(2, 30.0, id="few"),
        pytest.param(20, 5.0, id="many", marks=pytest.mark.thorough),
    ],
)
def test_f20_of_two_batch_layers_one_leaves_at_once(
    case: Case, rounds: int, seconds: float
) -> None:
    made = case.stack()
    send(case, made, [f"word{number} event" for number in range(100)])
    groups = []
    for number in range(rounds):
        started = time.monotonic()
        both = [made.start("batch", "--once") for _ in range(2)]
        groups += [layer.process.pid for layer in both]
        loser, winner = await_loser(both)
        assert time.monotonic() - started <= seconds
        assert loser.process.returncode == 75, loser.log.read_text()
        assert winner.process.poll() is None, winner.log.read_text()
        assert "JAVA" not in loser.log.read_text(), "it left only after it had started Spark"
        if number < rounds - 1:
            winner.kill()
    assert winner.process.wait(180) == 0, winner.log.read_text()
    assert "JAVA" in winner.log.read_text()
    assert judge_rows(case, made) == {"rows": 100, "consumed": 100}
    assert len(generations(made)) == 1
    nothing_is_left([case.folder / "model", case.folder / "data"], groups, locks(case))


@pytest.mark.thorough
def test_f30_a_topic_that_was_made_again_and_is_longer_stops_the_batch_layer(case: Case) -> None:
    made = case.stack()
    send(case, made, [f"word{number} event" for number in range(100)])
    done = made.batch_once()
    assert done.process.returncode == 0, done.log.read_text()
    before = rows(made)
    make_again(case, made, 300)
    stopped = made.batch_once()
    assert stopped.process.returncode == 1, stopped.log.read_text()
    assert "was deleted and made again" in stopped.log.read_text()
    assert sorted(map(repr, rows(made))) == sorted(map(repr, before))
    assert len(before) == 100
    assert len(generations(made)) == 1
    nothing_is_left(
        [case.folder / "model", case.folder / "data"], [stopped.process.pid], locks(case)
    )


@pytest.mark.thorough
def test_f30_a_topic_that_was_made_again_and_is_longer_is_folded_in_from_its_beginning(
    case: Case,
) -> None:
    made = case.stack()
    send(case, made, [f"word{number} event" for number in range(100)])
    with direct(case.broker.direct_address) as broker:
        topic = broker.topic(made.settings.input_topic.name)
        cut = broker.end_offsets(made.settings.input_topic.name)
    assert topic is not None
    commit(made, 1, topic.topic_id, cut)
    make_again(case, made, 300)
    address, update_topic = case.broker.direct_address, made.settings.update_topic.name
    end = {p: at for p, (_, at) in range_of(address, made.settings.input_topic.name).items()}
    speed = made.start("speed")
    wait_until(lambda: folded(address, update_topic) == end, "all of it is folded in", 120)
    assert "deleted and made again" in speed.log.read_text()
    assert speed.stop() == 0, speed.log.read_text()


def await_loser(both: list[Layer]) -> list[Layer]:
    """Wait until one of two has ended; returns that one first."""
    wait_until(lambda: any(layer.process.poll() is not None for layer in both), "one has left")
    return sorted(both, key=lambda layer: layer.process.poll() is None)


def send(case: Case, made: Stack, lines: list[str]) -> None:
    """Put lines on the input topic past serving and the proxy."""
    with direct(case.broker.direct_address) as broker:
        producer = broker.producer()
        pairs = [(str(number), line) for number, line in enumerate(lines)]
        assert producer.send_all(made.settings.input_topic.name, pairs) == len(lines)
        producer.close()


def make_again(case: Case, made: Stack, n_lines: int) -> None:
    """Delete the input topic and make it anew, with more lines in each partition than before."""
    name = made.settings.input_topic.name
    before = range_of(case.broker.direct_address, name)
    with direct(case.broker.direct_address) as broker:
        assert broker.delete_topic(name)
        broker.create_topic(name, len(before))
    send(case, made, [f"other{number} event" for number in range(n_lines)])
    after = range_of(case.broker.direct_address, name)
    assert all(after[partition][1] > end for partition, (_, end) in before.items())


def rows(made: Stack) -> list[Row]:
    return history(made.folder / "data" / made.settings.app)


def judge_rows(case: Case, made: Stack) -> dict[str, int]:
    """I2 of the history where nothing was set aside."""
    found = [(row.partition, row.offset) for row in rows(made)]
    consumed = range_of(case.broker.direct_address, made.settings.input_topic.name)
    return history_is_whole(found, [], consumed)


def judge_history(case: Case, made: Stack) -> dict[str, int]:
    """I2 and I3 of the history and the batch layer's dead letters."""
    address, names = case.broker.direct_address, made.settings.input_topic
    found = [(row.partition, row.offset) for row in rows(made)]
    consumed, letters = range_of(address, names.name), dead_letters(address, names.dead_letter)
    history_is_whole(found, letters["batch"], consumed)
    return set_aside_or_kept(found, letters, consumed)


def generations(made: Stack) -> list[int]:
    return ModelStore.of(made.settings.batch.storage).ids()


def locks(case: Case) -> list[Path]:
    found = list((case.folder / "home" / "locks").glob("*.lock"))
    assert found
    return found
