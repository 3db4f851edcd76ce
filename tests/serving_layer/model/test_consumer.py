"""The consumer: which model requests see, when it changes, and what is refused."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from common.base.hashing import sha256_hex
from common.broker import Broker, BrokerError
from common.broker.memory import MemoryBroker
from common.config import Settings
from common.replica.updates import ModelMessage
from common.runtime.configuration import load
from common.store.generations import Generation, Manifest, ModelStore, StoreError
from common.wire.messages import MODEL, PROGRESS, UP, MessageError, Progress, Stamp
from serving_layer.api import ServingModel
from serving_layer.model.consumer import Consumer
from serving_layer.model.generations import Sources
from tests.failing_store import FailingStore
from tests.waiting import wait_until


@dataclass
class NamedModel(ServingModel):
    """A model that remembers what it was given."""

    text: str = ""
    updates: list[str] = field(default_factory=list)
    fraction_loaded: float = 1.0

    def load(self, model: ModelMessage) -> None:
        if model.text == "unusable":
            message = "cannot be used"
            raise StoreError(message)
        self.text = model.text
        self.fraction_loaded = 0.5 if model.text == "half" else 1.0

    def apply(self, update: str) -> None:
        if update == "bad":
            message = "cannot be read"
            raise MessageError(message)
        self.updates.append(update)


class Bench:
    """A consumer with a broker, a store and a clock in hand."""

    def __init__(self, tmp_path: Path) -> None:
        self.store = FailingStore(str(tmp_path / "model"))
        self.broker = MemoryBroker(clock=lambda: 1000)
        self.settings: Settings = load(
            flags={"app": "wordcount", "serving.catch_up_timeout_seconds": 60}, environment={}
        )
        self.topic = self.settings.update_topic.name
        self.broker.create_topic(self.topic, 1)
        self.time = 0.0
        self.consumer = self.another()

    def another(
        self,
        connect: Callable[[], Broker] | None = None,
        new_model: Callable[[], ServingModel] = NamedModel,
    ) -> Consumer:
        sources = Sources(
            connect or (lambda: self.broker),
            self.store,
            new_model,
            monotonic=lambda: self.time,
            clock=lambda: 3.0,
            retry_seconds=0.01,
        )
        return Consumer(self.settings, sources)

    def topic_id(self) -> str:
        found = self.broker.topic(self.topic)
        assert found is not None
        return found.topic_id

    def generation(self, id_: int, text: str, cut: int = 0) -> Generation:
        folder = self.store.new(id_)
        (folder / "model.json").write_text(text)
        manifest = Manifest(id_, "wordcount", "model.json", {}, "t", {0: cut}, created=1000)
        return self.store.commit(folder, manifest)

    def publish(self, generation: Generation) -> None:
        text = generation.model_text()
        stamp = Stamp(generation.id, 0, sha256_hex(text.encode()), generation.manifest_sha256)
        self.send(MODEL, text, stamp)

    def send(self, key: str, value: str, stamp: Stamp | None = None) -> None:
        producer = self.broker.producer()
        producer.send(self.topic, key, value, stamp.to_headers() if stamp else ())
        producer.flush()

    def micro_batch(self, generation: int, first: int, updates: list[str], offset: int) -> None:
        for sequence, update in enumerate(updates, first):
            self.send(UP, update, Stamp(generation, sequence))
        closing = Stamp(generation, first + len(updates))
        self.send(PROGRESS, Progress({0: offset}).to_value(), closing)

    def read(self, consumer: Consumer | None = None) -> NamedModel | None:
        """Let the consumer read all that is on the topic; return what it serves."""
        consumer = consumer or self.consumer
        end = self.broker.end_offsets(self.topic)[0]
        reader = self.broker.reader(self.topic, {0: consumer.positions.get(0, 0)})
        while consumer.positions.get(0, 0) < end:
            consumer.feed(reader.poll(0.1))
        consumer.swap_if_ready()
        model = consumer.model
        assert model is None or isinstance(model, NamedModel)
        return model


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_a_model_and_its_updates_are_served(bench: Bench) -> None:
    bench.publish(bench.generation(7, "seven"))
    bench.micro_batch(7, 1, ["a", "b"], offset=2)
    assert bench.read() == NamedModel("seven", ["a", "b"])
    assert bench.consumer.generation == 7
    assert bench.consumer.model_age_seconds == 2.0


def test_updates_wait_for_the_end_of_their_micro_batch(bench: Bench) -> None:
    bench.publish(bench.generation(7, "seven"))
    bench.send(UP, "a", Stamp(7, 1))
    model = bench.read()
    assert model is not None
    assert model.updates == []
    bench.send(PROGRESS, Progress({0: 1}).to_value(), Stamp(7, 2))
    bench.read()
    assert model.updates == ["a"]


def test_a_new_generation_waits_until_it_has_caught_up(bench: Bench) -> None:
    bench.publish(bench.generation(1, "one"))
    bench.micro_batch(1, 1, ["a"], offset=50)
    bench.publish(bench.generation(2, "two", cut=20))
    assert bench.read() == NamedModel("one", ["a"])
    bench.micro_batch(2, 1, ["b"], offset=40)
    assert bench.read() == NamedModel("one", ["a"])
    bench.micro_batch(2, 3, ["c"], offset=50)
    assert bench.read() == NamedModel("two", ["b", "c"])
    assert bench.consumer.counts["catch_up_timeouts"] == 0


def test_without_a_speed_layer_it_is_served_after_a_timeout(bench: Bench) -> None:
    bench.publish(bench.generation(1, "one"))
    bench.micro_batch(1, 1, ["a"], offset=50)
    bench.publish(bench.generation(2, "two", cut=20))
    bench.read()
    bench.time = 59.0
    assert bench.read() == NamedModel("one", ["a"])
    bench.time = 60.0
    assert bench.read() == NamedModel("two")
    assert bench.consumer.counts["catch_up_timeouts"] == 1


def test_however_long_it_takes_the_served_one_stays_fresh_until_the_next_has_caught_up(
    bench: Bench,
) -> None:
    bench.publish(bench.generation(1, "one"))
    bench.micro_batch(1, 1, ["a"], offset=50)
    bench.publish(bench.generation(2, "two", cut=20))
    for step in range(1, 11):
        bench.time = 50.0 * step
        bench.micro_batch(1, 1 + 2 * step, [f"a{step}"], offset=50 + step)
        if step % 2:
            bench.micro_batch(2, step, [f"b{step}"], offset=20 + step)
        assert bench.read() == NamedModel("one", ["a", *(f"a{n}" for n in range(1, step + 1))])
    bench.micro_batch(2, 11, ["c"], offset=60)
    model = bench.read()
    assert model is not None
    assert (model.text, model.updates[-1]) == ("two", "c")
    assert bench.consumer.counts["catch_up_timeouts"] == 0


def test_the_status_says_since_when_the_model_has_not_been_fed(bench: Bench) -> None:
    bench.publish(bench.generation(1, "one"))
    bench.read()
    bench.time = 30.0
    bench.micro_batch(1, 1, ["a"], offset=50)
    bench.read()
    assert bench.consumer.status()["fed_seconds_ago"] == 0.0
    bench.time = 75.0
    assert bench.consumer.status()["fed_seconds_ago"] == 45.0


def test_a_third_generation_passes_over_the_second_and_the_first_stays_fresh(bench: Bench) -> None:
    bench.publish(bench.generation(1, "one"))
    bench.micro_batch(1, 1, ["a"], offset=50)
    bench.publish(bench.generation(2, "two", cut=20))
    bench.read()
    bench.publish(bench.generation(3, "three", cut=30))
    bench.micro_batch(2, 1, ["b"], offset=50)
    bench.micro_batch(1, 3, ["c"], offset=55)
    assert bench.read() == NamedModel("one", ["a", "c"])
    bench.micro_batch(3, 1, ["d"], offset=55)
    assert bench.read() == NamedModel("three", ["d"])


def test_the_first_generation_is_served_only_when_all_that_was_there_is_read(bench: Bench) -> None:
    bench.publish(bench.generation(1, "one"))
    for number in range(3):
        bench.micro_batch(1, 1 + 2 * number, [f"a{number}"], offset=number + 1)
    bench.consumer.opened(bench.broker, ExitStack())
    reader = bench.broker.reader(bench.topic)
    bench.consumer.feed(reader.poll(0.1, max_records=3))
    bench.time = 1000.0
    bench.consumer.swap_if_ready()
    assert bench.consumer.model is None
    assert bench.read() == NamedModel("one", ["a0", "a1", "a2"])


def test_a_replica_that_starts_during_a_switch_waits_for_the_generation_it_finds(
    bench: Bench,
) -> None:
    bench.publish(bench.generation(2, "two", cut=20))
    bench.micro_batch(1, 7, ["a"], offset=50)  # the one before, which other replicas serve
    bench.micro_batch(2, 1, ["b"], offset=30)
    bench.consumer.opened(bench.broker, ExitStack())
    assert bench.read() is None
    bench.micro_batch(2, 3, ["c"], offset=50)
    assert bench.read() == NamedModel("two", ["b", "c"])


def test_a_generation_that_is_loaded_in_part_is_not_served(bench: Bench) -> None:
    bench.publish(bench.generation(1, "one"))
    bench.publish(bench.generation(2, "half", cut=5))
    assert bench.read() == NamedModel("one")


@pytest.mark.parametrize("text", ["unusable", "damaged"])
def test_a_generation_that_cannot_be_used_leaves_the_last_good_one(bench: Bench, text: str) -> None:
    bench.publish(bench.generation(1, "one"))
    bench.read()
    bad = bench.generation(2, text)
    bench.publish(bad)
    if text == "damaged":
        bad.path("model.json").with_name("manifest.json").write_text("{}")
    bench.micro_batch(1, 1, ["a"], offset=1)
    assert bench.read() == NamedModel("one", ["a"])
    assert bench.consumer.counts["refused_models"] == 1


def test_bad_records_are_counted_and_the_consumer_goes_on(bench: Bench) -> None:
    bench.send(UP, "too early")
    bench.send("OTHER", "?")
    bench.publish(bench.generation(1, "one"))
    bench.send(UP, "x", Stamp(99, 1))
    bench.micro_batch(1, 1, ["bad", "good"], offset=1)
    bench.send(PROGRESS, "not json", Stamp(1, 9))
    assert bench.read() == NamedModel("one", ["good"])
    counts = bench.consumer.counts
    assert counts["updates_before_a_model"] == 1
    assert counts["unknown_key"] == 1
    assert counts["updates_of_other_generations"] == 1
    assert counts["bad_updates"] == 1
    assert counts["bad_records"] == 1


def test_an_older_generation_never_replaces_a_newer_one(bench: Bench) -> None:
    first, second = bench.generation(1, "one"), bench.generation(2, "two")
    bench.publish(second)
    bench.publish(first)
    assert bench.read() == NamedModel("two")
    assert bench.consumer.counts["old_models"] == 1


def test_foreign_models_and_updates_are_read_as_oryx_reads_them(bench: Bench) -> None:
    bench.send(MODEL, "theirs")
    bench.send(UP, "a")
    model = bench.read()
    assert model == NamedModel("theirs", ["a"])
    bench.send(MODEL, "theirs again")
    bench.send(UP, "b")
    assert bench.read() is model
    assert model == NamedModel("theirs again", ["a", "b"])


class ApartModel(NamedModel):
    """One to which an update that is not ours means something else."""

    foreign: Sequence[str] = ()

    def apply_many_foreign(self, updates: Sequence[str]) -> list[MessageError]:
        self.foreign = [*self.foreign, *updates]
        return []


def test_a_family_may_tell_foreign_updates_from_ours(bench: Bench) -> None:
    consumer = bench.another(new_model=ApartModel)
    bench.publish(bench.generation(7, "seven"))
    bench.micro_batch(7, 1, ["ours"], offset=1)
    bench.send(UP, "theirs")
    model = bench.read(consumer)
    assert isinstance(model, ApartModel)
    assert model.updates == ["ours"]
    assert model.foreign == ["theirs"]


class FailingModel(NamedModel):
    """One whose family, or a library of it, fails in ways that nobody foresaw."""

    def load(self, model: ModelMessage) -> None:
        if model.text == "too large":
            raise MemoryError
        super().load(model)

    def apply(self, update: str) -> None:
        if update == "fault":
            message = "a fault of a library"
            raise ArithmeticError(message)
        super().apply(update)

    def apply_many(self, updates: Sequence[str]) -> Sequence[MessageError]:
        if "fault" in updates:
            message = "a fault of a library"
            raise ArithmeticError(message)
        return super().apply_many(updates)


def test_a2_any_fault_of_a_family_costs_the_record_alone(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    sources = Sources(lambda: bench.broker, bench.store, FailingModel, retry_seconds=0.01)
    consumer = Consumer(bench.settings, sources)
    bench.publish(bench.generation(1, "one"))
    consumer.start()
    try:
        bench.publish(bench.generation(2, "too large"))
        bench.send(MODEL, "too large")
        bench.micro_batch(1, 1, ["a", "fault", "fault", "b"], offset=4)
        bench.send(UP, "c")
        wait_until(lambda: consumer.counts["updates"] == 3)
        assert isinstance(consumer.model, FailingModel)
        assert (consumer.model.text, consumer.model.updates) == ("one", ["a", "b", "c"])
        assert consumer.counts["refused_models"] == 2
        assert consumer.counts["failed_ArithmeticError"] == 2
        assert consumer.counts["failed_MemoryError"] == 2
        assert consumer.counts["bad_updates"] == 2
        assert caplog.text.count("the first record that fails with ArithmeticError") == 1
        assert list(consumer.good.refused) == [2]
        assert consumer.status()["ended"] is None
        assert consumer.status()["unready"] is None
    finally:
        consumer.close()


def test_following_that_fails_once_is_begun_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures = iter([KeyError("ours"), KeyError("ours")])
    ids = ModelStore.ids

    def sometimes(store: ModelStore) -> list[int]:
        for failure in failures:
            raise failure
        return ids(store)

    monkeypatch.setattr(ModelStore, "ids", sometimes)
    bench.publish(bench.generation(1, "one"))
    replica = bench.another()
    replica.start()
    try:
        wait_until(lambda: replica.generation == 1)
        assert replica.counts["restarts"] == 2
        assert replica.status()["ended"] is None
    finally:
        replica.close()


def test_a_topic_with_two_partitions_is_not_followed(bench: Bench) -> None:
    ended = threading.Event()
    bench.broker.delete_topic(bench.topic)
    bench.broker.create_topic(bench.topic, 2)
    sources = Sources(lambda: bench.broker, bench.store, NamedModel)
    replica = Consumer(bench.settings, sources, ended.set)
    replica.start()
    assert ended.wait(60)
    assert "has 2 partitions" in str(replica.status()["ended"])
    assert replica.status()["unready"] == replica.status()["ended"]
    replica.close()


def test_a_topic_that_was_cut_at_its_end_is_read_from_its_beginning(bench: Bench) -> None:
    bench.publish(bench.generation(1, "one"))
    bench.micro_batch(1, 1, ["a"], offset=1)
    replica = bench.another()
    replica.topic_id = bench.topic_id()
    replica.positions = {0: 99}
    replica.start()
    try:
        wait_until(lambda: replica.model == NamedModel("one", ["a"]))
        assert replica.counts["topic_changes"] == 1
    finally:
        replica.close()


def test_records_that_were_gone_before_they_were_read_are_told(bench: Bench) -> None:
    bench.publish(bench.generation(1, "one"))
    bench.read()
    assert bench.consumer.status()["unready"] is None
    bench.micro_batch(1, 1, ["a"], offset=1)
    bench.broker.delete_records(bench.topic, {0: 3})
    bench.consumer.topic_id = bench.topic_id()
    bench.consumer.start()
    try:
        wait_until(lambda: bench.consumer.counts["lost_records"] == 2)
        wait_until(lambda: "incomplete: perhaps some" in str(bench.consumer.status()["unready"]))
        bench.micro_batch(1, 3, ["b"], offset=2)
        wait_until(lambda: "incomplete: 2 updates" in str(bench.consumer.status()["unready"]))
        assert bench.consumer.model == NamedModel("one", ["b"])
    finally:
        bench.consumer.close()


def test_a_generation_that_is_not_whole_replaces_none_that_is(bench: Bench) -> None:
    bench.publish(bench.generation(1, "one"))
    bench.micro_batch(1, 1, ["a"], offset=50)
    bench.publish(bench.generation(2, "two", cut=20))
    bench.micro_batch(2, 9, ["b"], offset=60)
    assert bench.read() == NamedModel("one", ["a"])
    bench.time = 61.0
    assert bench.read() == NamedModel("one", ["a"])
    assert "incomplete: 8 updates" in str(bench.consumer.status()["building_incomplete"])
    assert bench.consumer.status()["unready"] is None


class ManyModel(NamedModel):
    """One that takes updates many at a time."""

    calls: Sequence[list[str]] = ()

    def apply_many(self, updates: Sequence[str]) -> list[MessageError]:
        self.calls = [*self.calls, list(updates)]
        return [MessageError(update) for update in updates if update == "bad"]


def test_a_family_may_take_many_updates_at_once(bench: Bench) -> None:
    consumer = bench.another(new_model=ManyModel)
    bench.publish(bench.generation(7, "seven"))
    bench.micro_batch(7, 1, ["a", "bad", "b"], offset=1)
    for update in ("c", "bad", "d"):
        bench.send(UP, update)
    bench.micro_batch(7, 5, ["e"], offset=2)
    bench.send(UP, "f")
    model = bench.read(consumer)
    assert isinstance(model, ManyModel)
    assert model.calls == [
        ["a", "bad", "b"],
        ["c", "bad", "d"],
        ["e"],
        ["f"],
    ]
    assert (consumer.counts["updates"], consumer.counts["bad_updates"]) == (6, 2)


def test_a_new_replica_goes_straight_to_the_newest_generation(bench: Bench) -> None:
    bench.broker.clock = lambda: 500
    for number in range(20):
        bench.send(UP, f"old {number}", Stamp(1, number + 1))
    bench.broker.clock = lambda: 1000
    bench.publish(bench.generation(2, "two"))
    bench.micro_batch(2, 1, ["a"], offset=1)
    replica = bench.another()
    replica.start()
    try:
        wait_until(lambda: replica.generation == 2 and bool(replica.counts["updates"]))
        assert replica.model == NamedModel("two", ["a"])
        assert replica.counts["updates_of_other_generations"] == 0
        assert replica.status()["missing"] is None
    finally:
        replica.close()


def test_a_replica_starts_from_the_last_good_generation(bench: Bench) -> None:
    bench.generation(1, "one")
    bench.generation(2, "two").path("model.json").write_text("damaged")
    assert bench.consumer.load_newest(bench.broker) is not None
    bench.consumer.swap_if_ready()
    assert bench.consumer.model == NamedModel("one")


def test_without_a_broker_it_says_so_and_recovers(bench: Bench) -> None:
    down = threading.Event()
    down.set()

    def connect() -> Broker:
        if down.is_set():
            message = "nobody answers"
            raise BrokerError(message, retriable=True)
        return bench.broker

    replica = bench.another(connect)
    replica.start()
    try:
        wait_until(lambda: replica.counts["broker_errors"] > 0)
        assert "no connection to the broker" in str(replica.status()["missing"])
        down.clear()
        bench.publish(bench.generation(2, "two"))
        wait_until(lambda: replica.generation == 2)
    finally:
        replica.close()


def test_while_the_store_does_not_answer_it_says_so_and_no_model_is_lost(bench: Bench) -> None:
    bench.generation(1, "one")
    bench.store.failure = OSError("the disk is away")
    replica = bench.another()
    replica.start()
    try:
        wait_until(lambda: replica.counts["store_errors"] > 0)
        assert "the store does not answer: the disk is away" in str(replica.status()["missing"])
        bench.store.failure = None
        wait_until(lambda: replica.generation == 1)
        bench.store.failure = OSError("the disk is away")
        bench.publish(bench.generation(2, "two"))
        seen = replica.counts["store_errors"]
        wait_until(lambda: replica.counts["store_errors"] > seen)
        assert replica.generation == 1
        bench.store.failure = None
        wait_until(lambda: replica.generation == 2)
    finally:
        replica.close()


def test_what_ends_the_consumer_is_told(bench: Bench) -> None:
    bench.store.failure = RuntimeError("a fault of ours")
    replica = bench.another()
    replica.start()
    try:
        wait_until(lambda: "a fault of ours" in str(replica.status()["missing"]))
        assert "restart this process" in str(replica.status()["missing"])
    finally:
        replica.close()
