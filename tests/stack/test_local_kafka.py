"""The embedded broker, as a user and as other processes see it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer
from kafka.admin import NewTopic

from common.broker import read_all
from common.broker.confluent import ConfluentBroker
from common.config import BrokerClient
from stack import ports
from stack.errors import UserError
from stack.local_kafka import LocalKafka, PortTakenError

pytestmark = pytest.mark.integration


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[LocalKafka]:
    broker = LocalKafka(tmp_path, port=0)
    yield broker
    broker.kill()


def create_topic(address: str, name: str) -> None:
    admin = KafkaAdminClient(bootstrap_servers=address)
    try:
        admin.create_topics([NewTopic(name, 1, 1)])
    finally:
        admin.close()


def send(address: str, topic: str, *values: bytes) -> None:
    producer = KafkaProducer(bootstrap_servers=address, acks="all")
    try:
        for value in values:
            producer.send(topic, value).get(60)
    finally:
        producer.close()


def read(address: str, topic: str, count: int) -> list[bytes]:
    consumer = KafkaConsumer(
        topic,
        bootstrap_servers=address,
        auto_offset_reset="earliest",
        consumer_timeout_ms=30_000,
    )
    try:
        return [record.value for _, record in zip(range(count), consumer, strict=False)]
    finally:
        consumer.close()


def test_a_model_of_64_mib_goes_through(kafka_broker: str) -> None:
    topic = f"big-{uuid.uuid4().hex}"
    create_topic(kafka_broker, topic)
    model = os.urandom(1024) * (64 * 1024)
    # kafka-python sums up each byte in Python, which takes half a minute here.
    with ConfluentBroker(kafka_broker, BrokerClient()) as broker:
        producer = broker.producer()
        producer.send(topic, "MODEL", model)
        producer.flush()
        producer.close()
        reader = broker.reader(topic)
        found = [record.value for record in read_all(reader, broker.end_offsets(topic))]
        reader.close()
    assert found == [model]


def test_unknown_topics_are_not_made_by_reading(local_kafka: LocalKafka) -> None:
    consumer = KafkaConsumer(bootstrap_servers=local_kafka.address)
    try:
        consumer.partitions_for_topic("never-made")
    finally:
        consumer.close()
    assert "never-made" not in local_kafka.status().topics


def test_listens_on_loopback_only(local_kafka: LocalKafka) -> None:
    pid = local_kafka.status().pid
    inodes = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        # The broker closes files meanwhile.
        with contextlib.suppress(FileNotFoundError):
            inodes.add(str(link.readlink()))
    addresses = [
        (table, fields[1].split(":")[0])
        for table in ("tcp", "tcp6")
        for fields in map(str.split, Path(f"/proc/net/{table}").read_text().splitlines()[1:])
        if fields[3] == "0A" and f"socket:[{fields[9]}]" in inodes
    ]
    assert len(addresses) == 2
    # 127.0.0.1 in the kernel's byte order, as itself or mapped into IPv6.
    assert {address[-8:] for _, address in addresses} == {"0100007F"}


def test_records_survive_a_stop_and_a_crash_and_stop_kills_what_does_not_end(
    broker: LocalKafka,
) -> None:
    assert broker.start()
    cluster_id = broker.status().cluster_id
    create_topic(broker.address, "kept")
    send(broker.address, "kept", b"before the stop")
    assert broker.stop()
    assert not broker.status().running
    assert broker.start()
    send(broker.address, "kept", b"before the crash")
    assert broker.kill()
    assert not broker.status().running
    assert broker.start()
    assert read(broker.address, "kept", 2) == [b"before the stop", b"before the crash"]
    status = broker.status()
    assert status.topics == ["kept"]
    assert status.cluster_id == cluster_id
    assert status.data_bytes > 0
    assert status.pid is not None
    os.kill(status.pid, signal.SIGSTOP)
    assert broker.stop(timeout_seconds=0.2)
    assert not broker.is_running()


def test_it_outlives_its_starter_and_a_second_start_finds_it(broker: LocalKafka) -> None:
    code = "import sys; from stack.local_kafka import *; LocalKafka(Path(sys.argv[1]), 0).start()"
    subprocess.run([sys.executable, "-c", code, str(broker.home)], check=True, timeout=90)
    assert broker.is_running()
    pid = broker.status().pid
    again = LocalKafka(broker.home, port=0)
    assert not again.start()
    assert again.status().pid == pid
    assert again.stop()
    assert not again.stop()
    assert not broker.is_running()


def test_busy_port_names_its_owner(tmp_path: Path) -> None:
    with socket.socket() as listener:
        listener.bind((ports.LOOPBACK, 0))
        listener.listen()
        port = listener.getsockname()[1]
        with pytest.raises(UserError, match=rf"Port {port} is taken by .*pid {os.getpid()}"):
            LocalKafka(tmp_path, port).start()
    assert not LocalKafka(tmp_path, port).is_running()


def test_of_two_that_take_one_port_at_once_one_is_refused(tmp_path: Path) -> None:
    port = ports.free_port()
    brokers = [LocalKafka(tmp_path / name, port) for name in ("one", "other")]
    with ThreadPoolExecutor(len(brokers)) as pool:
        starts = [pool.submit(broker.start) for broker in brokers]
    refused = [start.exception() for start in starts if start.exception()]
    try:
        (loser,) = refused
        assert isinstance(loser, PortTakenError)
        (winner,) = [broker for broker in brokers if broker.is_running()]
        assert f"Port {port} is taken by java (pid {winner.status().pid})" in str(loser)
        assert [broker.answers_at(port) for broker in brokers] == [
            broker is winner for broker in brokers
        ]
    finally:
        for broker in brokers:
            broker.kill()


def test_stale_pid_file_ends_no_other_process(tmp_path: Path) -> None:
    stranger = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=-1)
    try:
        (tmp_path / "kafka").mkdir()
        record = {"pid": stranger.pid, "token": "-Dgemsbok.broker=0", "port": 9}
        (tmp_path / "kafka" / "broker.json").write_text(json.dumps(record))
        broker = LocalKafka(tmp_path, port=0)
        assert not broker.status().running
        assert not broker.stop()
        assert not broker.kill()
        assert stranger.poll() is None
    finally:
        stranger.communicate()


def test_failed_start_says_why_and_leaves_nothing(tmp_path: Path) -> None:
    broker = LocalKafka(tmp_path, port=0, heap_mb=1)
    with pytest.raises(UserError, match="ended at once"):
        broker.start()
    assert not broker.is_running()
