"""An input topic of its own for each test, and the batch layer that reads it."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from kafka import KafkaAdminClient
from kafka.admin import NewPartitions
from kafka.structs import TopicPartition
from pyspark.sql import Row, SparkSession

from batch_layer.history.ingest import Ingest, Ingested
from batch_layer.history.table import History
from batch_layer.run.layer import BatchLayer, Resources
from common.broker import Broker, Record, open_broker
from common.broker.api import read_all
from common.config import Settings
from common.runtime.configuration import load
from common.store.generations import ModelStore

_numbers = itertools.count()


@dataclass
class Place:
    """Topics on a real broker, folders, and what works on them."""

    spark: SparkSession
    broker: Broker
    folder: Path
    flags: dict[str, str]
    clock: int = field(default_factory=lambda: 1_800_000_000_000)

    @property
    def settings(self) -> Settings:
        return load(None, self.flags, {})

    @property
    def store(self) -> ModelStore:
        return ModelStore(self.settings.batch.storage.model_dir)

    @property
    def history(self) -> History:
        return History(self.spark, f"{self.settings.batch.storage.data_dir}/{self.settings.app}")

    @property
    def topic(self) -> str:
        return self.settings.input_topic.name

    def make_topics(self, partitions: int = 2) -> None:
        self.broker.create_topic(self.topic, partitions)
        self.broker.create_topic(f"{self.topic}.dlq", 1)
        self.broker.create_topic(self.settings.update_topic.name, 1)

    def send(self, *lines: str | bytes, key: str | None = None) -> None:
        producer = self.broker.producer()
        for number, line in enumerate(lines):
            producer.send(self.topic, key or f"{number}", line)
        producer.flush()
        producer.close()

    def ingest(self, accept_loss: bool = False) -> Ingested:
        return Ingest(self.settings, self.broker, self.history, accept_loss).run()

    def rows(self) -> list[Row]:
        return self.history.rows().orderBy("topic_id", "partition", "offset").collect()

    def layer(self, accept_loss: bool = False) -> BatchLayer:
        resources = Resources(
            self.spark, self.broker, self.broker, self.store, clock=lambda: self.clock
        )
        return BatchLayer(self.settings, resources, accept_loss)

    def records(self, topic: str) -> list[Record]:
        reader = self.broker.reader(topic)
        try:
            return list(read_all(reader, self.broker.end_offsets(topic)))
        finally:
            reader.close()

    def updates(self) -> list[Record]:
        return self.records(self.settings.update_topic.name)

    def dead_letters(self) -> list[Record]:
        return self.records(f"{self.topic}.dlq")

    def delete_records(self, before: dict[int, int]) -> None:
        with _admin(self.settings) as admin:
            admin.delete_records({TopicPartition(self.topic, p): at for p, at in before.items()})

    def add_partitions(self, total: int) -> None:
        with _admin(self.settings) as admin:
            admin.create_partitions({self.topic: NewPartitions(total)})


def _admin(settings: Settings) -> KafkaAdminClient:
    return KafkaAdminClient(bootstrap_servers=settings.input_topic.broker)


@pytest.fixture
def place(spark: SparkSession, kafka_broker: str, tmp_path: Path) -> Iterator[Place]:
    """Topics of their own, made, and empty folders; the app is word count."""
    name = f"batch-{os.getpid()}-{next(_numbers)}"
    flags = {
        "app": "wordcount",
        "input_topic.broker": kafka_broker,
        "input_topic.name": name,
        "input_topic.max_line_bytes": "1024",
        "update_topic.name": f"{name}.update",
        "batch.storage.data_dir": str(tmp_path / "data"),
        "batch.storage.model_dir": str(tmp_path / "model"),
        "batch.spark.master": "local[2]",
    }
    with open_broker(load(None, flags, {})) as broker:
        made = Place(spark, broker, tmp_path, flags)
        made.make_topics()
        yield made
