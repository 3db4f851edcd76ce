"""Generations of word count whose answers are known, made and published without Spark."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import orjson

from common.apps.wordcount import NEIGHBOURS_FILE
from common.broker import Broker, Producer
from common.replica.publisher import Publisher
from common.store.generations import Generation, Manifest, ModelStore
from common.wire.messages import MODEL_REF, Stamp
from tests.faults.evidence import direct
from tests.integration.stack import Stack

WORDS = [f"w{number}" for number in range(20)]
PATHS = [f"/distinct/{word}" for word in WORDS]
#: Bytes; all models are smaller, so that they travel whole.
MAX_SIZE = 1 << 20


def commit(
    made: Stack, number: int, topic_id: str = "", cut: dict[int, int] | None = None
) -> Generation:
    """Store generation `number`, in which each word counts differently from any other one's."""
    store = ModelStore.of(made.settings.batch.storage)
    folder = store.new(number)
    counts = {word: number * 100 + at for at, word in enumerate(WORDS)}
    (folder / "model.json").write_bytes(orjson.dumps(counts))
    (folder / NEIGHBOURS_FILE).write_bytes(orjson.dumps({word: [] for word in WORDS}))
    manifest = Manifest(number, made.settings.app, "model.json", {}, topic_id, cut or {})
    return store.commit(folder, manifest)


def publish(made: Stack, address: str, generation: Generation) -> None:
    """Send a generation to the update topic past the proxy, as the batch layer does."""
    topic = made.settings.update_topic.name
    with _producer(address) as (broker, producer):
        Publisher(broker, producer, topic, MAX_SIZE, 30).publish(generation)


def publish_unread(made: Stack, address: str, generation: Generation) -> None:
    """Send a MODEL-REF as it was before the model's file was damaged."""
    manifest = generation.manifest
    stamp = Stamp(
        generation.id,
        sequence=0,
        sha256=manifest.files[manifest.model_file],
        manifest=generation.manifest_sha256,
        updates=0,
    )
    topic = made.settings.update_topic.name
    with _producer(address) as (_, producer):
        producer.send(topic, MODEL_REF, generation.reference, stamp.to_headers())
        producer.flush()


@contextmanager
def _producer(address: str) -> Iterator[tuple[Broker, Producer]]:
    with direct(address) as broker:
        producer = broker.producer()
        try:
            yield broker, producer
        finally:
            producer.close()


def answer(generation: int, path: str) -> str:
    """The oracle: what a generation of :func:`commit` replies to one of :data:`PATHS`."""
    return str(generation * 100 + PATHS.index(path))
