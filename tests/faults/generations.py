"""Generations of word count whose answers are known, made and published without Spark."""

from __future__ import annotations

from collections.abc import Collection

import orjson

from common.apps.wordcount import NEIGHBOURS_FILE
from common.replica.publisher import Publisher
from common.store.generations import Generation, Manifest, ModelStore
from tests.faults.evidence import direct
from tests.integration.stack import Stack

WORDS = [f"w{number}" for number in range(20)]
PATHS = [f"/distinct/{word}" for word in WORDS]
#: A model of more bytes than this goes by reference.
AS_MODEL, AS_REFERENCE = 1 << 20, 1


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


def publish(
    made: Stack,
    address: str,
    generation: Generation,
    max_size: int = AS_MODEL,
    updates: Collection[str] = (),
) -> None:
    """Send a generation to the update topic past the proxy."""
    with direct(address) as broker:
        producer = broker.producer()
        try:
            Publisher(producer, made.settings.update_topic.name, max_size, 30).publish(
                generation, updates
            )
        finally:
            producer.close()


def answer(generation: int, path: str) -> str:
    """The oracle: what a generation of :func:`commit` replies to one of :data:`PATHS`."""
    return str(generation * 100 + PATHS.index(path))
