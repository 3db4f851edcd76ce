"""Fixtures that several packages' tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cli.local_kafka import LocalKafka


@pytest.fixture(scope="session")
def local_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalKafka]:
    """A broker for the whole run, on a free port, its data in a temporary folder."""
    with LocalKafka(tmp_path_factory.mktemp("kafka"), port=0) as broker:
        yield broker


@pytest.fixture(scope="session")
def kafka_broker(local_kafka: LocalKafka) -> str:
    """``host:port`` of the broker for the whole run; use topic names of your own."""
    return local_kafka.address
