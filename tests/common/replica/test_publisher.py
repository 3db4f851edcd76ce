"""What goes on the update topic, in which order, with which stamps."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from common.base.hashing import sha256_hex
from common.broker import BrokerError
from common.broker.memory import MemoryBroker
from common.broker.topics import UnusableTopicError
from common.replica.publisher import Publisher, last_sequence
from common.store.generations import Generation, Manifest, ModelStore, StoreError
from common.store.position import Position
from common.wire.messages import MODEL, MODEL_REF, PROGRESS, UP, Message, Progress

MODEL_TEXT = "<PMML/>" * 200


@pytest.fixture
def generation(tmp_path: Path) -> Generation:
    store = ModelStore(str(tmp_path))
    folder = store.new(7)
    (folder / "model.pmml").write_text(MODEL_TEXT)
    return store.commit(
        folder, Manifest(7, "als", "model.pmml", {}, "id", {0: 5, 1: 6}, data_range=(10, 20))
    )


@pytest.fixture
def broker() -> MemoryBroker:
    made = MemoryBroker()
    made.create_topic("up", 1)
    return made


def sent(broker: MemoryBroker) -> list[Message]:
    records = broker.reader("up").poll(timeout=0, max_records=100_000)
    return [Message.from_record(r.key, r.value, r.headers) for r in records]


def publisher(broker: MemoryBroker, max_size: int = 100_000) -> Publisher:
    return Publisher(broker, broker.producer(), "up", max_size, timeout=5.0)


def test_the_size_rule_is_inclusive(broker: MemoryBroker, generation: Generation) -> None:
    size = len(MODEL_TEXT)
    assert publisher(broker, size).publish(generation) == 1
    assert publisher(broker, size - 1).publish(generation) == 1
    whole, reference = sent(broker)
    assert (whole.key, whole.value) == (MODEL, MODEL_TEXT)
    assert (reference.key, reference.value) == (MODEL_REF, generation.reference)
    assert whole.stamp == reference.stamp
    assert whole.stamp is not None
    assert whole.stamp.sha256 == sha256_hex(MODEL_TEXT.encode())
    assert whole.stamp.manifest == generation.manifest_sha256


def test_updates_follow_in_groups_that_a_progress_closes(
    broker: MemoryBroker, generation: Generation
) -> None:
    updates = [f'["X","u{number}",[1.0]]' for number in range(7)]
    by_threes = replace(publisher(broker), updates_per_progress=3)
    assert by_threes.publish(generation, updates) == 11
    model, *rest = sent(broker)
    assert [message.key for message in rest] == [UP] * 3 + [PROGRESS] + [UP] * 3 + [
        PROGRESS,
        UP,
        PROGRESS,
    ]
    assert [message.value for message in rest if message.key == UP] == updates
    stamps = [message.stamp for message in [model, *rest]]
    assert [stamp.sequence for stamp in stamps if stamp] == list(range(11))
    assert {stamp.generation for stamp in stamps if stamp} == {7}
    assert model.stamp is not None
    assert model.stamp.updates == last_sequence(7, 3) == 10
    assert Progress.from_value(rest[-1].value) == Progress({0: 5, 1: 6}, 20, topic_id="id")


@pytest.mark.parametrize(("updates", "last"), [(0, 0), (1, 2), (10_000, 10_001), (10_001, 10_003)])
def test_the_last_sequence_counts_what_closes_the_updates(updates: int, last: int) -> None:
    assert last_sequence(updates) == last


def test_a_damaged_model_is_not_published(broker: MemoryBroker, generation: Generation) -> None:
    generation.path("model.pmml").write_text("<PMML>")
    with pytest.raises(StoreError, match="SHA-256"):
        publisher(broker).publish(generation)
    assert sent(broker) == []


def test_a_family_that_miscounts_its_updates_is_found_out(
    broker: MemoryBroker, generation: Generation
) -> None:
    class Short(list[str]):
        def __len__(self) -> int:
            return 5

    with pytest.raises(RuntimeError, match="announced 5 updates"):
        publisher(broker).publish(generation, Short(["a", "b"]))


def test_f7_where_it_begins_is_written_down_before_the_first_record(
    broker: MemoryBroker, generation: Generation
) -> None:
    broker.producer().send("up", UP, "of others")
    broker.fail_next_flush = BrokerError("down")
    with pytest.raises(BrokerError):
        publisher(broker).publish(generation, ["a", "b"])
    topic = broker.topic("up")
    assert topic is not None
    noted = Position(topic.topic_id, {0: 0}, records=4)
    assert generation.position == noted
    assert publisher(broker).publish(generation, ["a", "b"]) == 4
    assert generation.position == noted


def test_a_topic_with_two_partitions_is_refused(generation: Generation) -> None:
    broker = MemoryBroker()
    broker.create_topic("up", 2)
    with pytest.raises(UnusableTopicError, match="has 2 partitions"):
        publisher(broker).publish(generation)
    assert sent(broker) == []
