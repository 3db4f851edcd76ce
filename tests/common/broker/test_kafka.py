"""What only a real broker can show: crashes, transactions, retention, new partitions."""

from __future__ import annotations

import contextlib
import gc
import logging
import time
from collections.abc import Callable, Iterator, Mapping

import pytest
from confluent_kafka import Producer as RawProducer
from confluent_kafka import TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AdminClient,
    NewPartitions,
)

from common.broker import Broker, BrokerError, Producer, Reader, Record
from common.broker.api import read_all
from common.broker.confluent import client_config as confluent_config
from common.broker.kafka_python import client_config as kafka_python_config
from common.config import BrokerClient
from stack import ports
from stack.local_kafka import LocalKafka
from tests.common.broker.conftest import connect, watchful

# kafka-python leaves a socket whose connection was refused to the garbage collector.
pytestmark = [pytest.mark.integration, pytest.mark.filterwarnings("ignore:unclosed <socket")]

SECURITY = BrokerClient.model_validate(
    {
        "security_protocol": "SASL_SSL",
        "sasl_mechanism": "SCRAM-SHA-512",
        "sasl_username": "gems",
        "sasl_password": "bok",
        "ssl_ca_file": "/ca.pem",
        "ssl_certificate_file": "/own.pem",
        "ssl_key_file": "/own.key",
    }
)


@pytest.fixture(autouse=True)
def collect_sockets() -> Iterator[None]:
    yield
    gc.collect()


@pytest.fixture
def broker(kafka_client: str, kafka_broker: str) -> Iterator[Broker]:
    with connect(kafka_client, kafka_broker) as opened:
        yield opened


@pytest.fixture
def topic(broker: Broker, new_topic: Callable[[], str]) -> str:
    name = new_topic()
    broker.create_topic(name, 2)
    return name


def poll_until(reader: Reader, enough: Callable[[list[Record]], bool]) -> list[Record]:
    records: list[Record] = []
    deadline = time.monotonic() + 60
    while not enough(records):
        assert time.monotonic() < deadline, f"after 60 s there are {len(records)} records"
        records += reader.poll(0.2)
    return records


def send_until_acknowledged(producer: Producer, topic: str, line: str) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with contextlib.suppress(BrokerError):
            assert producer.send_all(topic, [("k", line)]) == 1
            return
    pytest.fail("not acknowledged within 60 s")


@pytest.fixture(scope="module")
def killed_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalKafka]:
    made = LocalKafka(tmp_path_factory.mktemp("own"), ports.free_port())
    yield made
    made.kill()


@pytest.fixture
def own_kafka(killed_kafka: LocalKafka) -> LocalKafka:
    """A broker that runs and may be killed; started anew for the test after that."""
    killed_kafka.start()
    return killed_kafka


def test_a_restart_of_the_broker_loses_nothing_and_doubles_nothing(
    kafka_client: str,
    own_kafka: LocalKafka,
    new_topic: Callable[[], str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    events, others = new_topic(), new_topic()
    broker = connect(kafka_client, own_kafka.address, delivery_timeout_seconds=120.0)
    impatient = connect(kafka_client, own_kafka.address, delivery_timeout_seconds=1.0)
    broker.create_topic(events, 2)
    broker.create_topic(others, 1)
    reader, producer, hasty = broker.reader(events), broker.producer(), impatient.producer()
    # Its first second may be over before it is connected, so it may write this one twice.
    send_until_acknowledged(hasty, others, "before")
    assert producer.send_all(events, [("before", "before")]) == 1
    assert len(poll_until(reader, lambda records: len(records) == 1)) == 1
    own_kafka.kill()
    assert list(reader.poll(0.3)) == []
    lines = [(str(number % 5), str(number)) for number in range(500)]
    for key, line in lines:
        producer.send(events, key, line)
    with pytest.raises(BrokerError) as caught:
        hasty.send_all(others, [("k", "lost")])
    assert caught.value.outcome_unknown
    assert caught.value.retriable
    assert list(reader.poll(0.3)) == []
    own_kafka.start()
    producer.flush()
    found = poll_until(reader, lambda records: len(records) >= 500)
    for key in map(str, range(5)):
        values = [record.value for record in found if record.key == key.encode()]
        assert values == [line.encode() for its, line in lines if its == key]
    send_until_acknowledged(hasty, events, "after")
    assert {record.value for record in poll_until(reader, bool)} == {b"after"}
    for each in (reader, producer, hasty, broker, impatient):
        each.close()
    assert len([event for event in caplog.records if event.levelno >= logging.WARNING]) <= 2


def test_nobody_at_the_address_is_told_in_time_with_a_remedy(kafka_client: str) -> None:
    address = f"127.0.0.1:{ports.free_port()}"
    started = time.monotonic()
    with pytest.raises(BrokerError) as caught:
        connect(kafka_client, address, connect_timeout_seconds=0.5)
    assert time.monotonic() - started < 30
    assert address in str(caught.value)
    assert "bin/gemsbok kafka start" in str(caught.value)
    assert "input_topic.broker" in str(caught.value)
    assert caught.value.retriable


def test_what_is_asked_while_the_broker_is_down_fails_in_time(
    kafka_client: str, own_kafka: LocalKafka, new_topic: Callable[[], str]
) -> None:
    broker = connect(kafka_client, own_kafka.address, connect_timeout_seconds=3.0)
    topic = new_topic()
    broker.create_topic(topic, 1)
    own_kafka.kill()
    started = time.monotonic()
    for ask in (lambda: broker.topic(topic), lambda: broker.end_offsets(topic)):
        with pytest.raises(BrokerError, match="no broker answers") as caught:
            ask()
        assert caught.value.retriable
    assert time.monotonic() - started < 30
    broker.close()


def test_records_of_others_may_lack_key_and_value(
    broker: Broker, topic: str, kafka_broker: str
) -> None:
    raw = RawProducer({"bootstrap.servers": kafka_broker})
    raw.produce(topic, None, b"k", partition=0, headers=[("empty", b"")])
    raw.produce(topic, b"v", None, partition=0)
    raw.flush()
    reader = broker.reader(topic)
    found = list(read_all(reader, broker.end_offsets(topic)))
    reader.close()
    assert [(record.key, record.value) for record in found] == [(b"k", None), (None, b"v")]


def test_only_committed_transactions_are_read_and_their_marks_are_no_obstacle(
    broker: Broker, topic: str, kafka_broker: str
) -> None:
    raw = RawProducer({"bootstrap.servers": kafka_broker, "transactional.id": topic})
    raw.init_transactions()
    for finish in (raw.commit_transaction, raw.abort_transaction):
        raw.begin_transaction()
        for number in range(3):
            raw.produce(topic, f"{finish.__name__} {number}", partition=0)
        raw.flush()
        finish()
    end = ends_with(broker, topic, 8, "six records and two marks")
    reader = broker.reader(topic)
    found = list(read_all(reader, end))
    assert [record.value for record in found] == [
        f"commit_transaction {number}".encode() for number in range(3)
    ]
    assert reader.positions() == end
    reader.close()


def ends_with(broker: Broker, topic: str, expected: int, what: str) -> dict[int, int]:
    """Wait for the topic's first partition: a mark is written after its transaction is over."""
    deadline = time.monotonic() + 30
    while (end := broker.end_offsets(topic))[0] < expected and time.monotonic() < deadline:
        time.sleep(0.02)
    assert end[0] == expected, what
    return dict(end)


def test_new_partitions_are_read_from_their_beginning(
    kafka_client: str, topic: str, kafka_broker: str
) -> None:
    broker = watchful(kafka_client, kafka_broker)
    reader = broker.reader(topic, "latest")
    admin = AdminClient({"bootstrap.servers": kafka_broker})
    admin.create_partitions([NewPartitions(topic, 3)])[topic].result()
    raw = RawProducer({"bootstrap.servers": kafka_broker, "topic.metadata.refresh.interval.ms": 50})
    raw.produce(topic, b"old", partition=0)
    while topic_partitions(raw, topic) < 3:
        time.sleep(0.02)
    raw.produce(topic, b"new", partition=2)
    raw.flush()
    found = poll_until(reader, lambda records: len(records) >= 2)
    assert {(record.partition, record.value) for record in found} == {(0, b"old"), (2, b"new")}
    assert reader.positions() == {0: 1, 1: 0, 2: 1}
    reader.close()
    broker.close()


def topic_partitions(raw: RawProducer, topic: str) -> int:
    return len(raw.list_topics(topic).topics[topic].partitions)


def test_what_retention_removed_is_named(broker: Broker, topic: str, kafka_broker: str) -> None:
    producer = broker.producer()
    producer.send_all(topic, [("k", str(number)) for number in range(20)])
    producer.close()
    (number,) = [p for p, end in broker.end_offsets(topic).items() if end]
    admin = AdminClient({"bootstrap.servers": kafka_broker})
    for done in admin.delete_records([TopicPartition(topic, number, 12)]).values():
        done.result()
    assert broker.begin_offsets(topic)[number] == 12
    reader = broker.reader(topic, {number: 5})
    with pytest.raises(BrokerError, match=rf"partition {number}: offsets 5 to 11 are gone"):
        poll_until(reader, lambda records: False)
    reader.close()
    late = broker.reader(topic)
    assert len(list(read_all(late, broker.end_offsets(topic)))) == 8
    late.close()


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (
            confluent_config("h:1,i:2", SECURITY),
            {
                "bootstrap.servers": "h:1,i:2",
                "security.protocol": "SASL_SSL",
                "sasl.mechanism": "SCRAM-SHA-512",
                "sasl.username": "gems",
                "sasl.password": "bok",
                "ssl.ca.location": "/ca.pem",
                "ssl.certificate.location": "/own.pem",
                "ssl.key.location": "/own.key",
            },
        ),
        (
            kafka_python_config("h:1,i:2", SECURITY),
            {
                "bootstrap_servers": ["h:1", "i:2"],
                "security_protocol": "SASL_SSL",
                "sasl_mechanism": "SCRAM-SHA-512",
                "sasl_plain_username": "gems",
                "sasl_plain_password": "bok",
                "ssl_cafile": "/ca.pem",
                "ssl_certfile": "/own.pem",
                "ssl_keyfile": "/own.key",
            },
        ),
    ],
)
def test_security_settings_reach_the_client(
    made: Mapping[str, object], expected: Mapping[str, object]
) -> None:
    assert {name: made.get(name) for name in expected} == expected
