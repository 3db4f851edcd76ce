"""One broker of each kind, and names of topics that no other test uses."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator

import pytest

from common.broker import Broker, open_broker
from common.broker.memory import MemoryBroker
from common.config import BrokerClient, Settings

KAFKA = [pytest.param(kind, marks=pytest.mark.jvm) for kind in ("kafka-python", "confluent")]
_numbers = itertools.count()


def connect(kind: str, address: str, **client: float) -> Broker:
    """Open a broker of a kind; `address` counts for the Kafka ones."""
    if kind == "memory":
        return MemoryBroker.named(f"memory://{address}")
    settings = Settings(broker=BrokerClient.model_validate({"client": kind, **client}))
    return open_broker(settings, address)


@pytest.fixture(params=["memory", *KAFKA])
def broker(request: pytest.FixtureRequest) -> Iterator[Broker]:
    kind = request.param
    # Not by argument: the memory broker must not start a Kafka.
    address = "conformance" if kind == "memory" else request.getfixturevalue("kafka_broker")
    with connect(kind, address) as opened:
        yield opened


@pytest.fixture(params=KAFKA)
def kafka_client(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def new_topic() -> Callable[[], str]:
    return lambda: f"test-{os.getpid()}-{next(_numbers)}"
