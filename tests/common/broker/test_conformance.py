"""What every broker promises, whichever client it is reached by."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from common.broker import Broker, BrokerError, Producer, Reader, Record
from common.broker.api import read_all
from common.broker.kafka_python import KafkaPythonBroker
from common.broker.memory import MemoryBroker
from common.config import BrokerClient, UpdateTopic
from tests.common.broker.conftest import watchful

NewTopic = Callable[[], str]


@pytest.fixture
def topic(broker: Broker, new_topic: NewTopic) -> str:
    name = new_topic()
    assert broker.create_topic(name, 3)
    return name


@pytest.fixture
def producer(broker: Broker) -> Iterator[Producer]:
    opened = broker.producer()
    yield opened
    opened.close()


def read(broker: Broker, topic: str) -> list[Record]:
    reader = broker.reader(topic)
    try:
        return list(read_all(reader, broker.end_offsets(topic)))
    finally:
        reader.close()


def write(producer: Producer, topic: str, value: str) -> None:
    producer.send(topic, "k", value)
    producer.flush()


def poll_some(reader: Reader, count: int) -> list[Record]:
    records: list[Record] = []
    deadline = time.monotonic() + 60
    while len(records) < count and time.monotonic() < deadline:
        records += reader.poll(1.0)
    return records


def test_records_of_a_key_stay_in_one_partition_and_in_order(
    broker: Broker, topic: str, producer: Producer
) -> None:
    for number in range(3000):
        producer.send(topic, f"key{number % 10}", str(number))
    producer.flush()
    by_key: dict[bytes | None, list[Record]] = defaultdict(list)
    for record in read(broker, topic):
        by_key[record.key].append(record)
    assert len(by_key) == 10
    assert len({record.partition for records in by_key.values() for record in records}) > 1
    for records in by_key.values():
        assert len({record.partition for record in records}) == 1
        numbers = [int(record.value or b"") for record in records]
        assert numbers == sorted(numbers)
        assert len(numbers) == 300


def test_keys_choose_the_same_partition_as_the_memory_broker(
    broker: Broker, topic: str, producer: Producer
) -> None:
    keys = ["", "a", "user-1", "Ünïcödé", "x" * 1000, *map(str, range(200))]
    memory = MemoryBroker()
    memory.create_topic("t", 3)
    memory.producer().send_all("t", [(key, "v") for key in keys])
    assert producer.send_all(topic, [(key, "v") for key in keys]) == len(keys)
    here = {record.key: record.partition for record in read(broker, topic)}
    assert here == {record.key: record.partition for record in read(memory, "t")}
    assert len(here) == len(keys)


def test_headers_absent_keys_and_empty_values_arrive_as_sent(
    broker: Broker, topic: str, producer: Producer
) -> None:
    sent = time.time() * 1000
    producer.send(topic, None, b"\x00\xff")
    producer.send(topic, "k", "", [("a", b"1"), ("b", b""), ("a", b"2")])
    producer.flush()
    found = {record.key: record for record in read(broker, topic)}
    assert found[None].value == b"\x00\xff"
    assert list(found[None].headers) == []
    assert found[b"k"].value == b""
    assert list(found[b"k"].headers) == [("a", b"1"), ("b", b""), ("a", b"2")]
    assert all(abs(record.timestamp - sent) < 60_000 for record in found.values())


def test_flush_with_nothing_sent_returns_at_once(broker: Broker, producer: Producer) -> None:
    started = time.monotonic()
    producer.flush()
    assert time.monotonic() - started < BrokerClient().delivery_timeout_seconds


def test_the_largest_model_passes_in_one_record(
    broker: Broker, new_topic: NewTopic, producer: Producer
) -> None:
    name = new_topic()
    limit = UpdateTopic().max_size
    broker.create_topic(name, 1, {"max.message.bytes": str(limit)})
    model = "m" * (limit - 16 * 1024)
    producer.send(name, "MODEL", model, [("generation", b"1")])
    producer.flush()
    (record,) = read(broker, name)
    assert record.value == model.encode()


def test_a_record_that_the_topic_refuses_is_an_error(
    broker: Broker, new_topic: NewTopic, producer: Producer
) -> None:
    name = new_topic()
    broker.create_topic(name, 1, {"max.message.bytes": "20000"})
    producer.send(name, "k", "x" * 30_000)
    with pytest.raises(BrokerError, match=r"1 of 1 records|at most 20000") as caught:
        producer.flush()
    # kafka-python cannot tell a refusal from what it fails beside it.
    assert caught.value.outcome_unknown == isinstance(broker, KafkaPythonBroker)
    producer.flush()
    producer.send(name, "k", "small")
    producer.flush()
    assert [record.value for record in read(broker, name)] == [b"small"]


def test_a_reader_starts_where_it_is_told(broker: Broker, topic: str, producer: Producer) -> None:
    producer.send_all(topic, [(str(number), "old") for number in range(90)])
    end = broker.end_offsets(topic)
    assert min(end.values()) > 2
    latest, given_ = broker.reader(topic, "latest"), broker.reader(topic, {0: end[0] - 2})
    producer.send_all(topic, [(str(number), "new") for number in range(90)])
    assert {record.value for record in poll_some(latest, 90)} == {b"new"}
    found = poll_some(given_, 182 - end[0])
    assert len(found) == 182 - end[0]
    first = {record.partition: record.offset for record in reversed(found)}
    assert first == {0: end[0] - 2, 1: 0, 2: 0}
    assert given_.positions() == broker.end_offsets(topic)
    for each in (latest, given_):
        each.close()


def test_a_position_past_the_end_is_an_error_that_names_it(broker: Broker, topic: str) -> None:
    reader = broker.reader(topic, {1: 7})
    with pytest.raises(BrokerError, match="partition 1: offset 7 lies after its end 0"):
        poll_some(reader, 1)
    reader.close()


def test_a_position_in_a_partition_that_is_not_there_is_refused(broker: Broker, topic: str) -> None:
    with pytest.raises(BrokerError, match=r"no partitions \[8\]: it has 3"):
        broker.reader(topic, {8: 0})


def test_offsets_at_a_time(broker: Broker, topic: str, producer: Producer) -> None:
    producer.send(topic, "k", "1")
    producer.flush()
    (first,) = read(broker, topic)
    while time.time() * 1000 < first.timestamp + 5:
        time.sleep(0.001)
    producer.send(topic, "k", "2")
    producer.flush()
    second = read(broker, topic)[-1]
    assert broker.offsets_at(topic, first.timestamp)[first.partition] == 0
    assert broker.offsets_at(topic, first.timestamp + 1)[first.partition] == 1
    assert broker.offsets_at(topic, second.timestamp + 1) == broker.end_offsets(topic)
    assert broker.begin_offsets(topic) == {0: 0, 1: 0, 2: 0}


def test_a_topic_made_again_has_another_id(broker: Broker, new_topic: NewTopic) -> None:
    name = new_topic()
    assert broker.topic(name) is None
    assert not broker.delete_topic(name)
    assert broker.create_topic(name, 2)
    assert not broker.create_topic(name, 5)
    first = broker.topic(name)
    assert first is not None
    assert (first.name, first.partitions) == (name, 2)
    assert broker.delete_topic(name)
    assert broker.topic(name) is None
    assert broker.create_topic(name, 2)
    second = broker.topic(name)
    assert second is not None
    assert second.topic_id != first.topic_id


def test_a_reader_of_a_topic_that_was_made_again_says_so(
    broker: Broker, place: tuple[str, str], topic: str
) -> None:
    with watchful(*place) as other:
        reader = other.reader(topic)
        broker.delete_topic(topic)
        broker.create_topic(topic, 3)
        with pytest.raises(BrokerError, match="was deleted"):
            poll_some(reader, 1)
        reader.close()


def test_an_unknown_topic_is_an_error_with_a_remedy(broker: Broker, producer: Producer) -> None:
    calls: Sequence[Callable[[], object]] = (
        lambda: broker.reader("absent"),
        lambda: broker.begin_offsets("absent"),
        lambda: broker.end_offsets("absent"),
        lambda: broker.offsets_at("absent", 0),
        lambda: producer.send_all("absent", [("k", "v")]),
        lambda: write(producer, "absent", "v"),
    )
    for call in calls:
        with pytest.raises(BrokerError, match=r"no topic 'absent'.*topics setup") as caught:
            call()
        assert not caught.value.outcome_unknown


def test_threads_send_at_once_and_each_gets_its_own_count(
    broker: Broker, topic: str, producer: Producer
) -> None:
    counts: list[int] = []

    def send(thread: int) -> None:
        lines = ((f"{thread}-{number % 7}", f"{thread},{number}") for number in range(2000))
        counts.append(producer.send_all(topic, lines))

    threads = [threading.Thread(target=send, args=(thread,)) for thread in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counts == [2000] * 8
    values = [record.value for record in read(broker, topic)]
    assert len(values) == len(set(values)) == 16_000


def test_an_empty_poll_takes_its_time_and_no_longer(broker: Broker, topic: str) -> None:
    reader = broker.reader(topic)
    started = time.monotonic()
    assert list(reader.poll(0.3)) == []
    assert 0.25 < time.monotonic() - started < 30
    reader.close()


def test_a_poll_returns_as_soon_as_a_record_comes(
    broker: Broker, topic: str, producer: Producer
) -> None:
    reader = broker.reader(topic, "latest")
    producer.send(topic, "k", "warm-up")
    producer.flush()
    assert len(poll_some(reader, 1)) == 1
    later = threading.Timer(0.2, write, (producer, topic, "v"))
    later.start()
    started = time.monotonic()
    records = reader.poll(60)
    assert [record.value for record in records] == [b"v"]
    assert time.monotonic() - started < 30
    later.join()
    reader.close()


def test_a_poll_returns_no_more_than_it_is_asked_for(
    broker: Broker, topic: str, producer: Producer
) -> None:
    reader = broker.reader(topic)
    producer.send_all(topic, [("k", str(number)) for number in range(25)])
    sizes, found = [], 0
    while found < 25:
        records = reader.poll(5, max_records=10)
        sizes.append(len(records))
        found += len(records)
    assert 1 <= max(sizes) <= 10
    reader.close()


def test_read_all_of_nothing_ends(broker: Broker, topic: str) -> None:
    assert read(broker, topic) == []
    reader = broker.reader(topic, "latest")
    assert list(read_all(reader, {0: 0, 1: 0, 2: 0})) == []
    reader.close()


def test_the_cluster_has_one_identity(broker: Broker) -> None:
    assert broker.cluster_id() == broker.cluster_id()
    assert len(broker.cluster_id()) > 10


# Neither client writes a header's name beyond a NUL.
header_names = st.text(
    st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=9
)


@settings(
    max_examples=20,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    sent=st.lists(
        st.tuples(
            st.none() | st.text(max_size=20),
            st.binary(max_size=200),
            st.lists(st.tuples(header_names, st.binary(max_size=9)), max_size=3),
        ),
        min_size=1,
        max_size=12,
    )
)
def test_any_record_comes_back_as_it_was(
    broker: Broker,
    topic: str,
    producer: Producer,
    sent: list[tuple[str | None, bytes, list[tuple[str, bytes]]]],
) -> None:
    reader = broker.reader(topic, broker.end_offsets(topic))
    for key, value, headers in sent:
        producer.send(topic, key, value, headers)
    producer.flush()
    found = [
        (record.key, record.value, list(record.headers))
        for record in read_all(reader, broker.end_offsets(topic))
    ]
    reader.close()
    as_bytes = [(None if key is None else key.encode(), *rest) for key, *rest in sent]
    assert sorted(map(repr, found)) == sorted(map(repr, as_bytes))
