"""Lines per second of ``POST /ingest``, acknowledged by a real broker.

    python -m benchmarks.rest_ingest [--lines 200000] [--per-request 5000] [--connections 4]

For each Kafka client, two variants alternate: ours (one serving process, several connections, 204
only after the broker's acknowledgement), and the bare client, which writes the same lines with
the same guarantees (``acks=all``, idempotent) in a loop.  The records in the topic are counted
after every round; a lost or duplicated line is an error.
"""

from __future__ import annotations

import argparse
import http.client
import itertools
import random
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.report import Figure, run
from common.broker import open_broker
from stack.local_kafka import LocalKafka
from tests.integration.stack import Stack, stack
from tests.waiting import wait_until

#: Kafka clients with their targets.
CLIENTS = {"confluent": "50,000", "kafka-python": "15,000"}
USERS, ITEMS = 100_000, 20_000


@dataclass(frozen=True)
class Load:
    """Number of lines, requests' size, connections and rounds."""

    lines: int
    per_request: int
    connections: int
    rounds: int


def bodies(load: Load) -> list[bytes]:
    """Return the requests' bodies: ``user,item,strength,timestamp`` lines, from a seed."""
    draw = random.Random(5)
    lines = [
        f"u{draw.randrange(USERS)},i{draw.randrange(ITEMS)},1,{1_700_000_000_000 + n}"
        for n in range(load.lines)
    ]
    step = load.per_request
    return ["\n".join(lines[at : at + step]).encode() for at in range(0, len(lines), step)]


def post_all(port: int, request_bodies: Sequence[bytes]) -> None:
    """POST bodies over one connection; raise unless each is acknowledged."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    for body in request_bodies:
        connection.request("POST", "/ingest", body, {"Content-Type": "text/csv"})
        reply = connection.getresponse()
        content = reply.read()
        if reply.status != 204:
            message = f"ingest answered {reply.status}: {content[:200]!r}"
            raise RuntimeError(message)
    connection.close()


def over_rest(loop: Stack, load: Load, sent: Sequence[bytes]) -> None:
    """Send all bodies over several connections in parallel."""
    port = loop.settings.serving.api.port
    parts = [sent[n :: load.connections] for n in range(load.connections)]
    with ThreadPoolExecutor(load.connections) as pool:
        list(pool.map(lambda part: post_all(port, part), parts))


def bare(loop: Stack, sent: Sequence[bytes]) -> None:
    """Write the same lines by the bare Kafka client, with the user as key."""
    address, topic = loop.settings.input_topic.broker, loop.settings.input_topic.name
    pairs = [(line.split(b",", 1)[0], line) for body in sent for line in body.split(b"\n")]
    write = _bare_confluent if loop.flags["broker.client"] == "confluent" else _bare_kafka_python
    write(address, topic, pairs)


def _bare_confluent(address: str, topic: str, pairs: Sequence[tuple[bytes, bytes]]) -> None:
    from confluent_kafka import Producer

    producer = Producer(
        {"bootstrap.servers": address, "acks": "all", "enable.idempotence": True, "linger.ms": 5}
    )
    for key, line in pairs:
        while True:
            try:
                producer.produce(topic, line, key)
                break
            except BufferError:
                producer.poll(0.01)
    if producer.flush(60):
        message = "not all was acknowledged"
        raise RuntimeError(message)


def _bare_kafka_python(address: str, topic: str, pairs: Sequence[tuple[bytes, bytes]]) -> None:
    from kafka import KafkaProducer

    producer = KafkaProducer(
        bootstrap_servers=address, acks="all", enable_idempotence=True, linger_ms=5
    )
    for key, line in pairs:
        producer.send(topic, line, key)
    producer.flush(60)
    producer.close()


def counted(loop: Stack) -> int:
    """Return the number of records in the input topic."""
    with open_broker(loop.settings) as broker:
        return sum(broker.end_offsets(loop.settings.input_topic.name).values())


def rate(loop: Stack, load: Load, work: Callable[[], None]) -> float:
    """Call `work`; return lines per second."""
    before, started = counted(loop), time.perf_counter()
    work()
    seconds = time.perf_counter() - started
    written = counted(loop) - before
    if written != load.lines:
        message = f"{load.lines} lines were sent, {written} are in the topic"
        raise RuntimeError(message)
    return load.lines / seconds


def measure(given: argparse.Namespace) -> Iterator[Figure]:
    """Yield the lines per second for each client, ours compared with the bare client's."""
    load = Load(given.lines, given.per_request, given.connections, given.rounds)
    sent = bodies(load)
    rest: dict[str, list[float]] = {client: [] for client in CLIENTS}
    alone: dict[str, list[float]] = {client: [] for client in CLIENTS}
    with (
        tempfile.TemporaryDirectory(prefix="rest-") as folder,
        LocalKafka(Path(folder), 0) as kafka,
    ):
        for number, client in itertools.product(range(load.rounds), CLIENTS):
            subfolder = Path(folder) / f"{client}-{number}"
            subfolder.mkdir()
            with stack(subfolder, kafka.address, "als", **{"broker.client": client}) as loop:
                ready(loop, sent[0])
                rest[client].append(rate(loop, load, partial(over_rest, loop, load, sent)))
                alone[client].append(rate(loop, load, partial(bare, loop, sent)))
    for client, asked in CLIENTS.items():
        what = f"POST /ingest, {client}, acknowledged"
        notes = {"lines a request": load.per_request, "connections": load.connections}
        peer = f"{client} alone"
        yield Figure(what, "lines/s", rest[client], peer, alone[client], asked, notes)


def ready(loop: Stack, body: bytes) -> None:
    """Start serving, and send one request so that it connects to the broker."""
    loop.start("serving")
    wait_until(lambda: loop.status_of("/livez") == 200, "serving answers")
    post_all(loop.settings.serving.api.port, [body])


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description="Lines per second over REST.")
    parser.add_argument("--lines", type=int, default=200_000)
    parser.add_argument("--per-request", type=int, default=5_000)
    parser.add_argument("--connections", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    run("rest_ingest", measure, parser, lines=40_000, rounds=1)


if __name__ == "__main__":
    main()
