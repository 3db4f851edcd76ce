"""Events on their way from a client to the input topic: F01, F03, F04."""

from __future__ import annotations

import signal
import threading

import pytest

from tests.faults.client import Load, Sender
from tests.faults.conftest import Case
from tests.faults.evidence import Reads, event_ids, range_of
from tests.faults.generations import PATHS, answer, commit, publish
from tests.faults.invariants import (
    acknowledged_once,
    nothing_is_left,
    reads_stay_good,
    recovers,
    replies_are_true,
)
from tests.faults.ledger import ACKNOWLEDGED, UNKNOWN
from tests.faults.proxy import PRODUCE
from tests.waiting import wait_until

pytestmark = [
    pytest.mark.faults,
    pytest.mark.integration,
    pytest.mark.jvm,
    pytest.mark.slow,
]


def test_f01_serving_is_killed_between_the_write_and_its_report(case: Case) -> None:
    made, ledger = case.stack(), case.ledger()
    topic, broker = made.settings.input_topic.name, case.broker
    publish(made, broker.direct_address, commit(made, 1))
    serving = made.start("serving")
    wait_until(lambda: made.status_of("/ready") == 200, "the model is served")
    with Sender(made.url, ledger) as sender:
        assert sender.send() == (ACKNOWLEDGED, "204")
        written = end_of(case, topic)
        broker.proxy.withhold_replies(PRODUCE)
        waiting = threading.Thread(target=sender.send)
        waiting.start()
        wait_until(lambda: end_of(case, topic) == written + 3, "the events are in the topic")
        serving.kill()
        waiting.join(60)
        broker.proxy.heal()
        made.start("serving")
        recovers(lambda: made.status_of("/ready") == 200, "the model is served again")
        assert sender.send() == (ACKNOWLEDGED, "204")
    found = acknowledged_once(ledger.outcomes(), event_ids(broker.direct_address, topic))
    assert (found["acknowledged"], found["unknown"], found["unknown in the topic"]) == (6, 3, 3)
    nothing_is_left([case.folder / "model"], [serving.process.pid])


def test_f03_sigterm_under_load_breaks_no_request(case: Case) -> None:
    made, ledger = case.stack(), case.ledger()
    publish(made, case.broker.direct_address, commit(made, 1))
    serving = made.start("serving")
    wait_until(lambda: made.status_of("/ready") == 200, "the model is served")
    # So that requests are under way when it stops.
    case.broker.proxy.delay(0.1)
    with Load(made.url, ledger, senders=8) as load:
        wait_until(lambda: load.count(ACKNOWLEDGED) > 20, "events are being acknowledged")
        before = load.count(ACKNOWLEDGED)
        serving.process.send_signal(signal.SIGTERM)
        assert serving.process.wait(60) == 0, serving.log.read_text()
    assert load.count(UNKNOWN) == 0, load.counts
    assert load.count(ACKNOWLEDGED) > before
    names = case.broker.direct_address, made.settings.input_topic.name
    found = acknowledged_once(ledger.outcomes(), event_ids(*names))
    assert found["unknown"] == 0
    nothing_is_left([case.folder / "model"], [serving.process.pid])


def test_f04_the_broker_is_killed_and_comes_back(case: Case) -> None:
    made, ledger = case.stack("wordcount", **{"broker.delivery_timeout_seconds": 4}), case.ledger()
    broker = case.broker
    publish(made, broker.direct_address, commit(made, 1))
    made.start("serving")
    wait_until(lambda: made.status_of("/ready") == 200, "the model is served")
    reads = Reads(made.url, PATHS, case.folder / "reads.jsonl")
    with reads, Load(made.url, ledger) as load:
        wait_until(lambda: load.count(ACKNOWLEDGED) > 20, "events are being acknowledged")
        broker.kill()
        wait_until(lambda: n_503(load) > 4, "clients are told that the broker is away")
        asked = len(reads.replies)
        wait_until(lambda: len(reads.replies) > asked + len(PATHS), "queries are answered")
        broker.start()
        before = load.count(ACKNOWLEDGED)
        recovers(lambda: load.count(ACKNOWLEDGED) > before + 20, "events are acknowledged again")
        publish(made, broker.direct_address, commit(made, 2))
        recovers(lambda: 2 in reads.generations(), "the next generation is served")
    found = acknowledged_once(
        ledger.outcomes(), event_ids(broker.direct_address, made.settings.input_topic.name)
    )
    assert found["failed"] + found["unknown"] > 0
    reads_stay_good(reads.replies)
    assert replies_are_true(reads.replies, answer, {1, 2})["generations"] == 2


def end_of(case: Case, topic: str) -> int:
    return sum(end for _, end in range_of(case.broker.direct_address, topic).values())


def n_503(load: Load) -> int:
    return sum(count for (_, why), count in dict(load.counts).items() if why.startswith("503"))
