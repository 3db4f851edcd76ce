"""The memory broker's own: one per name, its clock, and its switches."""

from __future__ import annotations

import pytest

from common.broker import BrokerError, open_broker
from common.broker.api import read_all
from common.broker.memory import MemoryBroker
from common.config import Settings


@pytest.fixture
def broker() -> MemoryBroker:
    made = MemoryBroker(clock=iter(range(1000, 2000, 10)).__next__)
    made.create_topic("t", 1)
    return made


def values(broker: MemoryBroker) -> list[bytes | None]:
    return [record.value for record in read_all(broker.reader("t"), broker.end_offsets("t"))]


def test_a_name_is_one_broker_until_it_is_forgotten() -> None:
    first = open_broker(Settings(), "memory://here")
    with open_broker(Settings(), "memory://here") as second:
        assert second is first
    first.create_topic("t", 1)
    assert open_broker(Settings(), "memory://there").topic("t") is None
    MemoryBroker.forget("memory://here")
    assert open_broker(Settings(), "memory://here").topic("t") is None


def test_timestamps_come_from_the_clock(broker: MemoryBroker) -> None:
    broker.producer().send_all("t", [("k", "a"), ("k", "b"), ("k", "c")])
    found = list(read_all(broker.reader("t"), {0: 3}))
    assert [record.timestamp for record in found] == [1000, 1010, 1020]
    assert broker.offsets_at("t", 1005) == {0: 1}


def test_records_that_are_deleted_are_gone(broker: MemoryBroker) -> None:
    broker.producer().send_all("t", [("k", str(number)) for number in range(9)])
    broker.delete_records("t", {0: 4})
    assert broker.begin_offsets("t") == {0: 4}
    assert values(broker) == [b"4", b"5", b"6", b"7", b"8"]
    with pytest.raises(BrokerError, match="offsets 2 to 3 are gone"):
        broker.reader("t", {0: 2}).poll(0)


def test_a_failed_flush_loses_what_was_sent_and_fails_once(broker: MemoryBroker) -> None:
    broker.fail_next_flush = BrokerError("on purpose")
    producer = broker.producer()
    producer.send("t", "k", "lost")
    with pytest.raises(BrokerError, match="on purpose"):
        producer.flush()
    producer.send("t", "k", "kept")
    producer.flush()
    assert values(broker) == [b"kept"]


def test_a_failure_of_unknown_outcome_may_have_written(broker: MemoryBroker) -> None:
    broker.fail_next_flush = BrokerError("on purpose", outcome_unknown=True)
    with pytest.raises(BrokerError, match="on purpose"):
        broker.producer().send_all("t", [("k", "kept")])
    assert values(broker) == [b"kept"]


def test_an_unreachable_broker_fails_and_comes_back(broker: MemoryBroker) -> None:
    producer, reader = broker.producer(), broker.reader("t")
    broker.unreachable = True
    assert list(reader.poll(0.01)) == []
    producer.send("t", "k", "lost")
    with pytest.raises(BrokerError, match="unreachable") as caught:
        producer.flush()
    assert caught.value.retriable
    with pytest.raises(BrokerError, match="unreachable"):
        broker.topic("t")
    broker.unreachable = False
    producer.send("t", "k", "kept")
    producer.flush()
    assert [record.value for record in reader.poll(1)] == [b"kept"]
