"""One broker of each kind, and names of topics that no other test uses."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator

import pytest

from common.broker import Broker, open_broker
from common.broker.confluent import ConfluentBroker
from common.broker.kafka_python import KafkaPythonBroker
from common.broker.memory import MemoryBroker
from common.config import BrokerClient, Settings

KAFKA = [pytest.param(kind, marks=pytest.mark.jvm) for kind in ("kafka-python", "confluent")]
_numbers = itertools.count()


#: How often readers look whether their topic has changed, where a test waits for that.
WATCH_SECONDS = 0.05


def watchful(kind: str, address: str) -> Broker:
    """Open a broker of a kind whose readers soon learn what has become of their topic."""
    if kind == "memory":
        return connect(kind, address)
    made = ConfluentBroker if kind == "confluent" else KafkaPythonBroker
    return made(address, BrokerClient(), WATCH_SECONDS)


def connect(kind: str, address: str, **client: float) -> Broker:
    """Open a broker of a kind; `address` counts for the Kafka ones."""
    if kind == "memory":
        return MemoryBroker.named(f"memory://{address}")
    settings = Settings(broker=BrokerClient.model_validate({"client": kind, **client}))
    return open_broker(settings, address)


@pytest.fixture(params=["memory", *KAFKA])
def place(request: pytest.FixtureRequest) -> tuple[str, str]:
    """A kind of broker, and its address."""
    kind = request.param
    # Not by argument: the memory broker must not start a Kafka.
    return kind, "conformance" if kind == "memory" else request.getfixturevalue("kafka_broker")


@pytest.fixture
def broker(place: tuple[str, str]) -> Iterator[Broker]:
    with connect(*place) as opened:
        yield opened


@pytest.fixture(params=KAFKA)
def kafka_client(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def new_topic() -> Callable[[], str]:
    return lambda: f"test-{os.getpid()}-{next(_numbers)}"
