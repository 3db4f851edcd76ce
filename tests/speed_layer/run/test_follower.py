"""The follower: which model it offers, and what becomes of it when the store fails."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from common.broker.memory import MemoryBroker
from common.config import UpdateTopic
from common.store.generations import Generation, Manifest, ModelStore
from common.wire.messages import MODEL, Message, Stamp
from speed_layer.run.follower import Follower
from tests.failing_store import FailingStore
from tests.waiting import wait_until

TOPIC = UpdateTopic()


@pytest.fixture
def store(tmp_path: Path) -> FailingStore:
    return FailingStore(str(tmp_path))


@pytest.fixture
def broker() -> MemoryBroker:
    made = MemoryBroker(clock=lambda: 1000)
    made.create_topic(TOPIC.name, 1)
    made.create_topic(TOPIC.dead_letter, 1)
    return made


@pytest.fixture
def follower(store: ModelStore, broker: MemoryBroker) -> Iterator[Follower]:
    made = Follower("sum", TOPIC, store, lambda: broker, retry_seconds=0.01)
    yield made
    made.close()


def generation(store: ModelStore, id_: int, app: str = "sum") -> Generation:
    folder = store.new(id_)
    (folder / "model.json").write_text(f"model {id_}")
    return store.commit(folder, Manifest(id_, app, "model.json", {}, "t", {0: 0}, created=1000))


def publish(broker: MemoryBroker, made: Generation) -> None:
    message = Message(MODEL, made.model_text(), Stamp(made.id, 0, manifest=made.manifest_sha256))
    producer = broker.producer()
    assert message.stamp is not None
    producer.send(TOPIC.name, message.key, message.value, message.stamp.to_headers())
    producer.flush()


def test_it_starts_with_the_newest_generation_that_can_be_read(
    follower: Follower, store: ModelStore
) -> None:
    generation(store, 1)
    generation(store, 2).path("model.json").write_text("damaged")
    generation(store, 3).path("model.json").with_name("manifest.json").write_text("{}")
    generation(store, 4, app="another")
    follower.start()
    found = follower.newer_than(None, timeout=60)
    assert found is not None
    assert (found.generation, found.text) == (1, "model 1")
    assert follower.counts["refused_models"] == 2


def test_a_store_that_does_not_answer_is_asked_again(
    follower: Follower, store: FailingStore, broker: MemoryBroker
) -> None:
    follower.start()
    wait_until(lambda: follower.epoch == 0, "it follows")
    made = generation(store, 1)
    store.failure = OSError("the store is away")
    publish(broker, made)
    wait_until(lambda: follower.counts["store_errors"] > 0, "the store was asked")
    store.failure = None
    found = follower.newer_than(None, timeout=60)
    assert found is not None
    assert found.text == "model 1"


def test_what_ends_the_thread_reaches_the_layer(follower: Follower, store: FailingStore) -> None:
    store.failure = KeyError("a mistake")
    follower.start()
    with pytest.raises(KeyError, match="a mistake"):
        follower.newer_than(None, timeout=60)
