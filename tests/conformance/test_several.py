"""Several of everything on one update topic: writers, replicas, topics, stores that come and go."""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from common.apps.wordcount import NEIGHBOURS_FILE, Lines
from common.broker import BrokerError
from common.broker.memory import MemoryBroker
from common.config import Settings
from common.replica.publisher import Publisher
from common.runtime.configuration import load
from common.store.generations import Generation, Manifest, ModelStore
from common.wire.messages import UP
from serving_layer.apps.wordcount import Serving
from serving_layer.model.consumer import Consumer
from serving_layer.model.generations import Sources
from speed_layer.api import Events
from speed_layer.apps.wordcount import Speed
from speed_layer.run.follower import SupersededError
from speed_layer.run.layer import Family, SpeedLayer
from speed_layer.run.stream import Fold, Stream

#: Seconds between tries and looks: as short as a test wants them.
SOON = 0.02


@dataclass
class MemoryStream:
    """Micro-batches of a topic in memory, read as Spark does: by offset, whatever topic it is."""

    broker: MemoryBroker
    topic: str
    at: dict[int, int]
    fold: Fold
    paused: threading.Event
    failure: BaseException | None = None
    stopped: threading.Event = field(default_factory=threading.Event)

    @property
    def active(self) -> bool:
        return self.failure is None

    def raise_failure(self) -> None:
        if self.failure is not None:
            raise self.failure

    def run(self) -> None:
        try:
            while not self.stopped.wait(0.005):
                if not self.paused.is_set():
                    self.step()
        except BaseException as error:
            self.failure = error

    def step(self) -> None:
        try:
            records = self.broker.reader(self.topic, self.at).poll(0.0)
        except BrokerError:
            return  # there is no such offset, now
        if records:
            table = pa.table(
                {
                    "partition": pa.array([r.partition for r in records], pa.int32()),
                    "offset": pa.array([r.offset for r in records], pa.int64()),
                    "timestamp": pa.array([r.timestamp for r in records], pa.int64()),
                    "value": pa.array([r.value for r in records], pa.binary()),
                }
            )
            self.fold(lambda: table)
            for record in records:
                self.at[record.partition] = record.offset + 1


class Failing(Speed):
    """Word count that fails over some words, half way through a micro-batch."""

    def build_updates(self, events: Events) -> list[str]:
        if any("poison" in line for line in events.columns["line"].to_pylist()):
            self.counts["half-way"] = 1
            message = "a fault of a library"
            raise ArithmeticError(message)
        return super().build_updates(events)


@dataclass
class SpeedRun:
    """A speed layer on a thread."""

    layer: SpeedLayer
    paused: threading.Event
    ended: list[BaseException] = field(default_factory=list)
    thread: threading.Thread | None = None

    def run(self) -> None:
        try:
            self.layer.run()
        except BaseException as error:
            self.ended.append(error)

    def stop(self) -> None:
        self.layer.stop()
        assert self.thread is not None
        self.thread.join(60)
        assert not self.thread.is_alive()


class Platform:
    """Topics in memory, a store, and any number of layers."""

    def __init__(self, folder: Path, name: str) -> None:
        self.address = f"memory://{name}"
        self.broker = MemoryBroker.named(self.address)
        self.settings: Settings = load(
            flags={
                "app": "wordcount",
                "input_topic.broker": self.address,
                "batch.storage.model_dir": str(folder / "model"),
                "serving.catch_up_timeout_seconds": 600,
            },
            environment={},
        )
        self.store = ModelStore(self.settings.batch.storage.model_dir)
        self.input, self.update = self.settings.input_topic.name, self.settings.update_topic.name
        self.broker.create_topic(self.input, 1)
        self.broker.create_topic(self.update, 1)
        self.broker.create_topic(self.settings.update_topic.dead_letter, 1)
        self.running: list[SpeedRun | Consumer] = []

    def speed(self) -> SpeedRun:
        """Start a speed layer."""
        paused = threading.Event()

        @contextmanager
        def stream(start: Mapping[int, int], fold: Fold) -> Iterator[Stream]:
            made = MemoryStream(self.broker, self.input, dict(start), fold, paused)
            thread = threading.Thread(target=made.run)
            thread.start()
            try:
                yield made
            finally:
                made.stopped.set()
                thread.join(60)

        family = Family(functools.partial(Failing, self.settings), Lines(self.settings).read)
        layer = SpeedLayer(self.settings, stream, family, lambda: self.broker, SOON, SOON)
        run = SpeedRun(layer, paused)
        run.thread = threading.Thread(target=run.run)
        run.thread.start()
        self.running.append(run)
        return run

    def replica(self) -> Consumer:
        """Start a serving replica."""
        sources = Sources(
            lambda: self.broker,
            self.store,
            functools.partial(Serving, self.settings),
            retry_seconds=SOON,
            watch_seconds=SOON,
        )
        made = Consumer(self.settings, sources)
        made.start()
        self.running.append(made)
        return made

    def close(self) -> None:
        for one in self.running:
            one.stop() if isinstance(one, SpeedRun) else one.close()
        MemoryBroker.forget(self.address)

    def generation(
        self, id_: int, text: str = "{}", created: int = 0, send: bool = True
    ) -> Generation:
        """Store a generation that knows nothing of the input topic yet, and publish it."""
        folder = self.store.new(id_)
        (folder / "model.json").write_text(text)
        (folder / NEIGHBOURS_FILE).write_text("{}")
        topic = self.broker.topic(self.input)
        assert topic is not None
        manifest = Manifest(
            id_, "wordcount", "model.json", {}, topic.topic_id, {0: 0}, created=created
        )
        made = self.store.commit(folder, manifest)
        if send:
            self.publish(made)
        return made

    def publish(self, generation: Generation) -> None:
        Publisher(self.broker, self.broker.producer(), self.update, 1 << 20, 5.0).publish(
            generation
        )

    def words(self, *words: str) -> None:
        """Send one event for each word."""
        producer = self.broker.producer()
        for word in words:
            producer.send(self.input, None, word)
        producer.flush()


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[Platform]:
    made = Platform(tmp_path, tmp_path.name)
    yield made
    made.close()


def known(replica: Consumer) -> set[str]:
    """The words that a replica serves."""
    return set(replica.model.counts) if isinstance(replica.model, Serving) else set()


def ready(replica: Consumer) -> bool:
    status = replica.status()
    return replica.model is not None and status["missing"] is status["unready"] is None


def wait_until(condition: Callable[[], Any], what: str, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.005)


def some(prefix: str, number: int = 20) -> list[str]:
    return [f"{prefix}{at}" for at in range(number)]


def test_a4_a_second_speed_layer_takes_over_and_the_first_one_stops(platform: Platform) -> None:
    platform.generation(1)
    first, replica = platform.speed(), platform.replica()
    platform.words(*some("a"))
    wait_until(lambda: known(replica) == {*some("a")}, "the first one writes")
    second = platform.speed()
    wait_until(lambda: first.ended, "the first one stops")
    (error,) = first.ended
    assert isinstance(error, SupersededError)
    assert "has taken over" in str(error)
    platform.words(*some("b"))
    wait_until(lambda: known(replica) == {*some("a"), *some("b")}, "the second one writes")
    late = platform.replica()
    wait_until(lambda: known(late) == known(replica), "a later replica agrees")
    assert ready(late)
    assert not second.ended


def test_d1_what_a_stopped_writer_sends_late_changes_nothing(platform: Platform) -> None:
    platform.generation(1)
    stopped, replica = platform.speed(), platform.replica()
    platform.words(*some("a"))
    wait_until(lambda: known(replica) == {*some("a")}, "it writes")
    # As a process that is stopped: it neither reads nor folds, and knows of nothing.
    stopped.layer.stop()
    assert stopped.thread is not None
    stopped.thread.join(60)
    before = platform.broker.reader(platform.update).poll(0)
    survivor = platform.speed()
    platform.words(*some("b"))
    wait_until(lambda: known(replica) == {*some("a"), *some("b")}, "the survivor writes")
    for record in before[-3:]:  # its last records again, with sequences that readers do not have
        headers = [
            (name, b"%d" % (int(value) + 1000) if name == "sequence" else value)
            for name, value in record.headers
            if value is not None
        ]
        platform.broker.producer().send(platform.update, "UP", "late,7", headers)
    platform.words(*some("c"))
    everything = {*some("a"), *some("b"), *some("c")}
    wait_until(lambda: known(replica) == everything, "the survivor writes on")
    wait_until(lambda: replica.counts["stale_writer"] == 3, "they are dropped, counted")
    assert ready(replica)
    assert not survivor.ended


def test_a3_d2_updates_that_are_gone_are_told_and_made_again(platform: Platform) -> None:
    platform.generation(1)
    speed, replica = platform.speed(), platform.replica()
    platform.words(*some("a"))
    wait_until(lambda: known(replica) == {*some("a")}, "it writes")
    speed.stop()
    end = platform.broker.end_offsets(platform.update)[0]
    platform.broker.delete_records(platform.update, {0: end - 8})
    platform.words(*some("b"))
    late = platform.replica()
    wait_until(lambda: late.status()["incomplete"], "it says so")
    told = str(late.status()["unready"])
    assert "updates of generation 1 are gone from the update topic, a refold is needed" in told
    assert not ready(late)
    assert late.counts["gaps"] > 0
    assert late.counts["bad_records"] == 0
    assert ready(replica)
    platform.speed()
    everything = {*some("a"), *some("b")}
    wait_until(lambda: known(late) == known(replica) == everything, "everything is made again")
    wait_until(lambda: ready(late), "it is whole again")
    assert ready(replica)


def test_d2_a_line_is_restated_while_it_runs_even_if_nothing_comes(platform: Platform) -> None:
    platform.generation(1)
    speed, replica = platform.speed(), platform.replica()
    platform.words(*some("a"))
    wait_until(lambda: known(replica) == {*some("a")}, "it writes")
    end = platform.broker.end_offsets(platform.update)[0]
    platform.broker.delete_records(platform.update, {0: end})
    wait_until(lambda: speed.layer.totals.counts["refolds"] == 1, "it folds in anew")
    late = platform.replica()
    wait_until(lambda: ready(late) and known(late) == {*some("a")}, "a new replica has it all")
    assert ready(replica)


def test_a_generation_that_nobody_has_fed_needs_no_speed_layer_to_be_whole(
    platform: Platform,
) -> None:
    platform.generation(1)
    platform.broker.delete_records(platform.update, {0: 1})
    replica = platform.replica()
    wait_until(lambda: ready(replica), "only the batch layer's own record is gone")


def test_d3_the_update_topic_is_made_again(platform: Platform) -> None:
    platform.generation(1)
    speed, replica = platform.speed(), platform.replica()
    platform.words(*some("a"))
    wait_until(lambda: known(replica) == {*some("a")}, "it writes")
    platform.broker.delete_topic(platform.update)
    platform.broker.create_topic(platform.update, 1)
    platform.words(*some("b"))
    everything = {*some("a"), *some("b")}
    wait_until(lambda: known(replica) == everything, "the new topic is read from its beginning")
    assert replica.counts["topic_changes"] == 1
    late = platform.replica()
    wait_until(lambda: known(late) == everything, "a new replica has all of it")
    assert ready(replica)
    assert ready(late)
    assert not speed.ended


@pytest.mark.parametrize("paused", [False, True])
@pytest.mark.parametrize("longer", [False, True])
def test_f4_the_input_topic_is_made_again(
    platform: Platform, paused: bool, longer: bool, caplog: pytest.LogCaptureFixture
) -> None:
    platform.generation(1)
    speed, replica = platform.speed(), platform.replica()
    platform.words(*some("a"))
    wait_until(lambda: known(replica) == {*some("a")}, "it writes")
    if paused:
        speed.paused.set()
    platform.broker.delete_topic(platform.input)
    platform.broker.create_topic(platform.input, 1)
    new = some("b", 60 if longer else 5)
    platform.words(*new)
    speed.paused.clear()
    wait_until(lambda: known(replica) == {*some("a"), *new}, "all of the new topic is folded in")
    platform.words("last")
    wait_until(lambda: "last" in known(replica), "it goes on")
    assert speed.layer.totals.counts["input_topic_changes"] == 1
    assert "deleted and made again" in caplog.text
    speed.stop()
    platform.speed()
    platform.words("later")
    late = platform.replica()
    wait_until(lambda: known(late) == {*some("a"), *new, "last", "later"}, "so does a restart")


def test_input_that_is_gone_is_told_exactly_and_passed_over(
    platform: Platform, caplog: pytest.LogCaptureFixture
) -> None:
    platform.generation(1)
    platform.words(*some("a"))
    platform.broker.delete_records(platform.input, {0: 15})
    speed, replica = platform.speed(), platform.replica()
    wait_until(lambda: known(replica) == {*some("a")[15:]}, "what is there is folded in")
    assert speed.layer.totals.counts["input_records_lost"] == 15
    assert "partition 0: offsets 0 to 14" in caplog.text
    speed.paused.set()
    platform.words(*some("b"))
    platform.broker.delete_records(platform.input, {0: 30})
    wait_until(lambda: speed.layer.totals.counts["input_records_lost"] == 25, "it is told")
    speed.paused.clear()
    wait_until(lambda: known(replica) == {*some("a")[15:], *some("b")[10:]}, "it goes on")


def test_an_event_over_which_the_family_fails_costs_itself_alone(
    platform: Platform, caplog: pytest.LogCaptureFixture
) -> None:
    platform.generation(1)
    platform.words(*some("a"), "poison", *some("b"), "poison too", *some("c"))
    speed, replica = platform.speed(), platform.replica()
    everything = {*some("a"), *some("b"), *some("c")}
    wait_until(lambda: known(replica) == everything, "all others are folded in")
    assert speed.layer.totals.counts["failed_events"] == 2
    assert "input topic 0:20: the event is left out: ArithmeticError" in caplog.text
    platform.words("last")
    wait_until(lambda: known(replica) == {*everything, "last"}, "it goes on")
    assert not speed.ended


def test_a12_more_foreign_updates_than_wait_and_no_event(platform: Platform) -> None:
    platform.generation(1)
    speed = platform.speed()
    producer = platform.broker.producer()
    for number in range(100_100):
        producer.send(platform.update, UP, f"w{number},1")
    platform.generation(2)
    replica = platform.replica()
    platform.words("x")
    wait_until(lambda: "x" in known(replica) and replica.generation == 2, "the next one is fed")
    assert not speed.ended


class Away(Exception):
    """A store that does not answer, switched on and off."""


@pytest.fixture
def outage(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """While it is set, every reading of the store fails as an object store that says 503."""
    away = threading.Event()
    for name in ("get", "fetch", "position"):
        real = getattr(ModelStore, name)

        def sometimes(*arguments: Any, _real: Any = real, **named: Any) -> Any:
            if away.is_set():
                message = "503 slow down"
                raise OSError(message)
            return _real(*arguments, **named)

        monkeypatch.setattr(ModelStore, name, sometimes)
    return away


def test_f1_the_store_is_away_while_a_generation_appears(
    platform: Platform, outage: threading.Event
) -> None:
    platform.generation(1)
    speed = platform.speed()
    replicas = [platform.replica(), platform.replica()]
    platform.words(*some("a"))
    wait_until(lambda: all(known(r) == {*some("a")} for r in replicas), "they are fed")
    new = platform.generation(2, send=False)
    producer, stamp = platform.broker.producer(), (("gemsbok-version", b"1"),)
    headers = [*stamp, ("generation", b"2"), ("sequence", b"0")]
    headers.append(("manifest", new.manifest_sha256.encode()))
    outage.set()
    producer.send(platform.update, "MODEL", "{}", headers)
    wait_until(lambda: all(r.counts["store_errors"] for r in replicas), "the store was asked")
    assert "503 slow down" in str(replicas[0].status()["trouble"])
    platform.words(*some("b"))
    everything = {*some("a"), *some("b")}
    wait_until(lambda: all(known(r) == everything for r in replicas), "what is served stays fresh")
    assert all(r.generation == 1 and ready(r) for r in replicas)
    outage.clear()
    wait_until(lambda: all(r.generation == 2 for r in replicas), "it is taken by all")
    wait_until(lambda: all(known(r) == everything for r in replicas), "and is as far")
    platform.words("last")
    wait_until(lambda: all("last" in known(r) for r in replicas), "and is fed")
    assert all(r.counts["refused_models"] == 0 for r in replicas)
    assert speed.layer.totals.counts["refused_models"] == 0
    assert replicas[0].status()["trouble"] is None


def test_f2_layers_that_start_during_an_outage(platform: Platform, outage: threading.Event) -> None:
    platform.generation(1)
    outage.set()
    speed, replica = platform.speed(), platform.replica()
    wait_until(lambda: replica.counts["store_errors"] > 1, "the store was asked twice")
    assert "the store does not answer: 503 slow down" in str(replica.status()["missing"])
    platform.words(*some("a"))
    outage.clear()
    wait_until(lambda: ready(replica) and known(replica) == {*some("a")}, "they recover")
    assert speed.layer.totals.counts["refused_models"] == 0


@pytest.mark.parametrize("damage", ["model", "neighbours", "unusable", "manifest"])
def test_f3_all_readers_take_the_same_good_generation(platform: Platform, damage: str) -> None:
    platform.generation(1)
    bad = platform.generation(2, "not json" if damage == "unusable" else "{}")
    if damage == "model":
        bad.path("model.json").write_text("{ }")
    if damage == "neighbours":  # which the speed layer alone reads
        bad.path(NEIGHBOURS_FILE).write_text("{ }")
    if damage == "manifest":
        bad.path("model.json").with_name("manifest.json").write_text("{}")
    speed, replica = platform.speed(), platform.replica()
    platform.words(*some("a"))
    wait_until(lambda: known(replica) == {*some("a")}, "the good one is fed")
    assert replica.generation == 1
    assert list(replica.good.refused) == [2]
    assert replica.counts["refused_models"] > 0
    assert speed.layer.totals.counts["refused_models"] > 0
    platform.generation(3)
    wait_until(lambda: replica.generation == 3 and known(replica) == {*some("a")}, "the next")


def test_f7_a_clock_that_was_set_back_hides_no_update(platform: Platform) -> None:
    later = time.time_ns() // 1_000_000 + 3_600_000
    platform.generation(1, created=later)
    speed, replica = platform.speed(), platform.replica()
    platform.words(*some("a"))
    wait_until(lambda: known(replica) == {*some("a")}, "it writes")
    late = platform.replica()
    wait_until(lambda: ready(late) and known(late) == {*some("a")}, "a later replica has it all")
    speed.stop()
    platform.speed()
    platform.words(*some("b"))
    everything = {*some("a"), *some("b")}
    wait_until(lambda: known(replica) == known(late) == everything, "a restart goes on")
    assert replica.counts["repeats"] == late.counts["repeats"] == 0
