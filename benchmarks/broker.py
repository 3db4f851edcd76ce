"""Overhead of our broker adapters: records per second through them and the bare clients.

The four variants alternate within each round, so that other load on the machine affects all of
them.  The bare clients have the adapters' settings (all acknowledgements, idempotent), and read
the same fields of each record.

    python -m benchmarks.broker [--broker 127.0.0.1:9092]
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import confluent_kafka
import kafka

from benchmarks import report
from common.broker import Broker, open_broker, read_all
from common.broker.kafka_clients import FETCH_BYTES, LINGER_MS
from common.config import Settings
from stack.local_kafka import LocalKafka

TOPIC = "benchmark"
PARTITIONS = 4
CALL = 10_000
SECONDS = 120.0
CLIENTS = ("kafka-python", "confluent")

Lines = list[tuple[str, str]]


@dataclass(frozen=True)
class Way:
    """One variant of writing all lines and reading all records; both return the count."""

    write: Callable[[Lines], int]
    read: Callable[[], int]


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description="Cost of the broker adapters.")
    parser.add_argument("--broker", help="host:port; one is started if none is given")
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    report.run("broker", measure, parser, records=10_000, rounds=1)


def measure(given: argparse.Namespace) -> Iterator[report.Figure]:
    """Yield for each client and direction our rate, compared with the bare client's."""
    lines = [
        (f"u{n % 9973}", f"u{n % 9973},i{n % 3331},{n % 5}.5,17000{n:08}")
        for n in range(given.records)
    ]
    with contextlib.ExitStack() as opened:
        address = given.broker or opened.enter_context(_local_kafka())
        brokers = {client: opened.enter_context(_open(client, address)) for client in CLIENTS}
        rates: dict[str, list[float]] = {}
        for _ in range(given.rounds):
            for client, broker in brokers.items():
                for name, way in _ways(client, broker, address).items():
                    _measure(f"{client} {name}", way, (broker, lines), rates)
    for client, what in itertools.product(CLIENTS, ("write", "read")):
        ours, bare = (rates[f"{client} {name} {what}"] for name in ("ours", "bare"))
        yield report.Figure(f"{client}: {what}", "records/s", ours, "the bare client", bare)


@contextlib.contextmanager
def _local_kafka() -> Iterator[str]:
    with tempfile.TemporaryDirectory() as home, LocalKafka(Path(home), 0) as broker:
        yield broker.address


def _open(client: str, address: str) -> Broker:
    return open_broker(Settings.model_validate({"broker": {"client": client}}), address)


def _ways(client: str, broker: Broker, address: str) -> Mapping[str, Way]:
    bare = _bare_confluent(address) if client == "confluent" else _bare_kafka_python(address)
    return {"bare": bare, "ours": _ours(broker)}


def _measure(
    name: str, way: Way, given: tuple[Broker, Lines], rates: dict[str, list[float]]
) -> None:
    broker, lines = given
    broker.delete_topic(TOPIC)
    broker.create_topic(TOPIC, PARTITIONS)
    for what, run in (("write", partial(way.write, lines)), ("read", way.read)):
        started = time.perf_counter()
        count = run()
        seconds = time.perf_counter() - started
        if count != len(lines):
            message = f"{name} {what}: {count} of {len(lines)} records"
            raise RuntimeError(message)
        rates.setdefault(f"{name} {what}", []).append(count / seconds)


def _ours(broker: Broker) -> Way:
    def write(lines: Lines) -> int:
        producer = broker.producer()
        calls = range(0, len(lines), CALL)
        count = sum(producer.send_all(TOPIC, lines[at : at + CALL], SECONDS) for at in calls)
        producer.close()
        return count

    def read() -> int:
        reader = broker.reader(TOPIC)
        count = sum(1 for _ in read_all(reader, broker.end_offsets(TOPIC)))
        reader.close()
        return count

    return Way(write, read)


def _bare_confluent(address: str) -> Way:
    def write(lines: Lines) -> int:
        settings = {"acks": "all", "enable.idempotence": True, "linger.ms": LINGER_MS}
        producer = confluent_kafka.Producer({"bootstrap.servers": address, **settings})
        for at in range(0, len(lines), CALL):
            for key, line in lines[at : at + CALL]:
                producer.produce(TOPIC, line, key)
            producer.flush(SECONDS)
        return len(lines) - len(producer)

    def read() -> int:
        settings = {"group.id": "bare", "fetch.max.bytes": FETCH_BYTES}
        consumer = confluent_kafka.Consumer({"bootstrap.servers": address, **settings})
        parts = [confluent_kafka.TopicPartition(TOPIC, p, 0) for p in range(PARTITIONS)]
        ends = sum(consumer.get_watermark_offsets(part)[1] for part in parts)
        consumer.assign(parts)
        count = 0
        while count < ends:
            count += len([_fields(m) for m in consumer.consume(5000, 0.1) if m.error() is None])
        consumer.close()
        return count

    return Way(write, read)


def _fields(message: confluent_kafka.Message) -> tuple[object, ...]:
    """Read the fields of a record from a message; the client decodes each field when it is read."""
    at = (message.partition(), message.offset(), message.timestamp())
    return (*at, message.key(), message.value(), message.headers())


def _bare_kafka_python(address: str) -> Way:
    def write(lines: Lines) -> int:
        producer = kafka.KafkaProducer(
            bootstrap_servers=address, linger_ms=LINGER_MS, batch_size=262_144
        )
        for at in range(0, len(lines), CALL):
            for key, line in lines[at : at + CALL]:
                producer.send(TOPIC, line.encode(), key.encode())
            producer.flush(SECONDS)
        producer.close()
        return len(lines)

    def read() -> int:
        consumer = kafka.KafkaConsumer(
            bootstrap_servers=address, group_id=None, fetch_max_bytes=FETCH_BYTES
        )
        parts = [kafka.TopicPartition(TOPIC, p) for p in range(PARTITIONS)]
        consumer.assign(parts)
        consumer.seek_to_beginning()
        ends = sum(consumer.end_offsets(parts).values())
        count = 0
        while count < ends:
            count += sum(map(len, consumer.poll(1000, 5000).values()))
        consumer.close()
        return count

    return Way(write, read)


if __name__ == "__main__":
    main()
