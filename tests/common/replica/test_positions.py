"""Where a generation's messages begin on the update topic, and which generation is good."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from common.broker.memory import MemoryBroker
from common.broker.topics import MissingTopicError, UnusableTopicError
from common.replica.good import GoodGenerations
from common.replica.positions import Start, position_at, records_between, start_of
from common.store.generations import Generation, Manifest, ModelStore
from common.store.position import Position


def stored(store: ModelStore, id_: int = 1, created: int = 1000, app: str = "als") -> Generation:
    folder = store.new(id_)
    (folder / "model.pmml").write_text("<PMML/>")
    return store.commit(folder, Manifest(id_, app, "model.pmml", {}, "t", {0: 4}, created=created))


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(str(tmp_path / "model"))


def topic(clock: Callable[[], int], records: int) -> MemoryBroker:
    broker = MemoryBroker(clock=clock)
    broker.create_topic("u", 1)
    send(broker, records)
    return broker


def send(broker: MemoryBroker, records: int) -> None:
    producer = broker.producer()
    for number in range(records):
        producer.send("u", "UP", str(number))
    producer.flush()


def test_an_older_generation_begins_by_time(store: ModelStore) -> None:
    now = iter(range(500, 5000, 200))
    broker = topic(lambda: next(now), 6)  # at 500, 700, 900, 1100, …
    assert start_of(broker, "u", None) == Start({0: 0})
    assert start_of(broker, "u", stored(store)) == Start({0: 3})


def test_f7_a_clock_that_is_set_back_does_not_hide_a_generation(store: ModelStore) -> None:
    broker = topic(lambda: 10, 5)
    generation = stored(store, created=99_999)
    store.note_position(1, position_at(broker, "u", generation, records=1))
    send(broker, 3)
    assert start_of(broker, "u", generation) == Start({0: 5})
    # By time nothing of it would be read.
    assert broker.offsets_at("u", generation.manifest.created) == {0: 8}


def test_a_generation_that_was_fed_before_it_was_sent_begins_there(store: ModelStore) -> None:
    now = [10]
    broker = topic(lambda: now[0], 5)
    generation = stored(store, created=50)
    now[0] = 60
    send(broker, 2)
    assert position_at(broker, "u", generation, 1).offsets == {0: 5}


@pytest.mark.parametrize(
    ("removed", "start"),
    [
        (5, Start({0: 5}, batch_last=2)),
        (6, Start({0: 6}, batch_last=2, whole=False)),
        (8, Start({0: 8}, batch_last=2, whole=False)),
        (9, Start({0: 9}, batch_last=2, whole=False, sure=False)),
    ],
)
def test_it_tells_what_retention_has_removed(store: ModelStore, removed: int, start: Start) -> None:
    broker = topic(lambda: 10, 5)
    generation = stored(store)
    store.note_position(1, position_at(broker, "u", generation, records=3))
    send(broker, 5)
    broker.delete_records("u", {0: removed})
    assert start_of(broker, "u", generation) == start


def test_d3_on_another_topic_it_begins_at_the_beginning(store: ModelStore) -> None:
    broker = topic(lambda: 10, 5)
    generation = stored(store)
    store.note_position(1, Position("gone", {0: 4}, 1))
    assert start_of(broker, "u", generation) == Start({0: 0}, whole=False)
    broker.delete_records("u", {0: 2})
    assert start_of(broker, "u", generation) == Start({0: 2}, whole=False, sure=False)


def test_an_update_topic_has_one_partition(store: ModelStore) -> None:
    broker = MemoryBroker()
    broker.create_topic("u", 2)
    with pytest.raises(UnusableTopicError, match=r"has 2 partitions.*topics setup"):
        start_of(broker, "u", None)
    with pytest.raises(MissingTopicError, match="topics setup"):
        start_of(broker, "none", None)


def test_records_are_read_aside_up_to_an_offset() -> None:
    broker = topic(lambda: 10, 9)
    found = records_between(broker, "u", {0: 2}, {0: 6})
    assert [record.offset for record in found] == [2, 3, 4, 5]
    assert list(records_between(broker, "u", {0: 6}, {0: 6})) == []


class TestGood:
    def test_it_is_the_newest_of_the_app_that_was_not_refused(self, store: ModelStore) -> None:
        for id_ in (1, 2, 3):
            stored(store, id_)
        stored(store, 4, app="kmeans")
        good = GoodGenerations("als", store)
        assert ids(good) == 3
        good.refuse(3, "damaged")
        assert ids(good) == 2
        assert good.refused == {3: "damaged"}
        good.accept(3)
        assert ids(good) == 3

    def test_a_bad_manifest_is_refused_and_a_store_that_is_away_refuses_none(
        self, store: ModelStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        stored(store, 1)
        stored(store, 2).path("model.pmml").with_name("manifest.json").write_text("{}")
        good = GoodGenerations("als", store)

        def away(*_: object) -> Generation:
            message = "away"
            raise OSError(message)

        with monkeypatch.context() as patched:
            patched.setattr(store, "get", away)
            with pytest.raises(OSError, match="away"):
                good.newest(good.refuse)
        assert good.refused == {}
        assert ids(good) == 1
        assert list(good.refused) == [2]

    def test_an_empty_store_has_none(self, store: ModelStore) -> None:
        assert ids(GoodGenerations("als", store)) is None


def ids(good: GoodGenerations) -> int | None:
    found = good.newest(good.refuse)
    return found.id if found else None
