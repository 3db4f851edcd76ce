"""Fixtures that several packages' tests share."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from common.base import paths
from common.config import Spark
from common.runtime.spark import spark_properties
from stack.local_kafka import LocalKafka

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

# Every Java process of a test run is short-lived: the optimising compiler and a parallel
# collector would cost it more than they give.
os.environ.setdefault("JAVA_TOOL_OPTIONS", "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC")

# Deadlines would measure the load of the machine that runs the tests.  The same code gets the
# same examples; HYPOTHESIS_PROFILE=explore looks for others.
settings.register_profile(
    "repeatable", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile(
    "explore", settings.get_profile("repeatable"), derandomize=False, max_examples=1000
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what asks for a broker or a Spark session, so that no fast run starts one."""
    for item in items:
        if {"local_kafka", "spark"}.intersection(getattr(item, "fixturenames", ())):
            item.add_marker("jvm")


@pytest.fixture(scope="session")
def local_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalKafka]:
    """A broker for the whole run, on a free port, its data in a temporary folder."""
    with LocalKafka(tmp_path_factory.mktemp("kafka"), port=0) as broker:
        yield broker


@pytest.fixture(scope="session")
def kafka_broker(local_kafka: LocalKafka) -> str:
    """``host:port`` of the broker for the whole run; use topic names of your own."""
    return local_kafka.address


@pytest.fixture(scope="session")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkSession]:
    """One Spark session for the whole run, with the properties that the layers use."""
    from pyspark.sql import SparkSession

    os.environ["PYSPARK_PYTHON"] = sys.executable
    table = Spark(
        master="local[2]",
        shuffle_partitions=2,
        config={
            "spark.sql.warehouse.dir": str(tmp_path_factory.mktemp("warehouse")),
            # What tests do once is not worth the second, slower compiler, nor code made for
            # each query, nor plans that are made anew as data come; results are the same.
            "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1",
            "spark.sql.codegen.wholeStage": "false",
            "spark.sql.codegen.factoryMode": "NO_CODEGEN",
            "spark.sql.adaptive.enabled": "false",
        },
    )
    builder = SparkSession.builder
    for key, value in spark_properties(table, "gemsbok-tests", paths.home()).items():
        builder = builder.config(key, value)
    session = builder.getOrCreate()
    yield session
    session.stop()
