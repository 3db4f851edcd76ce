"""Fixtures that several packages' tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from cli.local_kafka import LocalKafka

# Deadlines would measure the load of the machine that runs the tests.
settings.register_profile("gemsbok", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("gemsbok")


@pytest.fixture(scope="session")
def local_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalKafka]:
    """A broker for the whole run, on a free port, its data in a temporary folder."""
    with LocalKafka(tmp_path_factory.mktemp("kafka"), port=0) as broker:
        yield broker


@pytest.fixture(scope="session")
def kafka_broker(local_kafka: LocalKafka) -> str:
    """``host:port`` of the broker for the whole run; use topic names of your own."""
    return local_kafka.address
