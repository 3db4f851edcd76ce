"""Several generations at once: the one before stays fresh until the next has caught up."""

from __future__ import annotations

import functools
import itertools
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pytest

from common.apps.wordcount import Lines
from common.broker.api import Record, read_all
from common.broker.memory import MemoryBroker
from common.config import Settings
from common.replica.publisher import Publisher
from common.replica.slot import Slot
from common.replica.updates import ModelMessage
from common.runtime.configuration import load
from common.store.generations import Manifest, ModelStore
from speed_layer.api import Events, SpeedModel
from speed_layer.run.layer import Family, SpeedLayer
from speed_layer.run.stream import Fold, Stream
from tests.waiting import wait_until

names = itertools.count()


class Gate:
    """Holds a generation's folding back, and says what the layer did meanwhile."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.reached = threading.Event()


@dataclass
class Listing(SpeedModel):
    """A model that holds each line it was given; its text says how it behaves."""

    gate: Gate
    held: list[str] = field(default_factory=list)
    fraction_loaded: float = 1.0
    text: str = ""

    def load(self, model: ModelMessage) -> None:
        self.text = model.text

    def apply(self, update: str) -> None:
        self.held.append(update)

    def build_updates(self, events: Events) -> Sequence[str]:
        found: list[str] = events.columns["line"].to_pylist()
        if self.text == "slow":
            self.gate.reached.set()
            assert self.gate.open.wait(60)
        if self.text in found:
            message = "cannot bear this one"
            raise ValueError(message)
        self.held += found
        return found


class Ticking(Stream):
    """What a stream of the broker in memory says of itself."""

    active = True

    def raise_failure(self) -> None:
        """Never fails."""


class Bench:
    """A speed layer that runs, with topics and a store of its own."""

    def __init__(self, tmp_path: Path, overlap: float) -> None:
        address = f"memory://lines-{next(names)}"
        self.broker = MemoryBroker.named(address)
        flags = {
            "app": "wordcount",
            "input_topic.broker": address,
            "batch.storage.model_dir": str(tmp_path),
            "speed.overlap_seconds": overlap,
        }
        self.settings: Settings = load(flags=flags, environment={})
        self.input, self.updates = self.settings.input_topic.name, self.settings.update_topic.name
        self.broker.create_topic(self.input, 2)
        self.broker.create_topic(self.updates, 1)
        self.store = ModelStore(str(tmp_path))
        self.gate = Gate()
        self.lines: list[str] = []
        family = Family(functools.partial(Listing, self.gate), Lines(self.settings).read)
        self.layer = SpeedLayer(
            self.settings, self.stream, family, lambda: self.broker, 0.05, watch_seconds=0.2
        )
        self.thread = threading.Thread(target=self.layer.run)
        self.thread.start()

    def stop(self) -> None:
        self.gate.open.set()
        self.layer.stop()
        self.thread.join(60)
        assert not self.thread.is_alive()

    @contextmanager
    def stream(self, start: Mapping[int, int], fold: Fold) -> Iterator[Stream]:
        ended = threading.Event()
        reader = self.broker.reader(self.input, start)

        def tick() -> None:
            while not ended.is_set():
                records = reader.poll(0.05)
                if records:
                    fold(functools.partial(table, records))

        thread = threading.Thread(target=tick)
        thread.start()
        try:
            yield Ticking()
        finally:
            ended.set()
            thread.join(60)

    def events(self, *lines: str) -> None:
        producer = self.broker.producer()
        for line in lines:
            producer.send(self.input, line, line)
        producer.flush()
        self.lines += lines

    def generation(self, id_: int, text: str = "plain") -> None:
        """Publish a generation that knows nothing of the input topic yet."""
        folder = self.store.new(id_)
        (folder / "model.json").write_text(text)
        topic = self.broker.topic(self.input)
        assert topic is not None
        manifest = Manifest(id_, "wordcount", "model.json", {}, topic.topic_id, {})
        made = self.store.commit(folder, manifest)
        Publisher(self.broker, self.broker.producer(), self.updates, 1_000_000, 5.0).publish(made)

    def held(self, generation: int) -> list[str]:
        """Return what a replica of a generation holds, once for each time it was told."""
        slot = Slot(generation, list[str]())
        reader = self.broker.reader(self.updates)
        for record in read_all(reader, self.broker.end_offsets(self.updates)):
            slot.model.extend(slot.read(record, "wordcount"))
        assert slot.log.complete
        return sorted(slot.model)

    def has_all(self, generation: int) -> bool:
        return self.held(generation) == sorted(self.lines)


def table(records: Sequence[Record]) -> pa.Table:
    return pa.table(
        {
            "partition": pa.array([record.partition for record in records], pa.int32()),
            "offset": pa.array([record.offset for record in records], pa.int64()),
            "timestamp": pa.array([record.timestamp for record in records], pa.int64()),
            "value": pa.array([record.value for record in records], pa.binary()),
        }
    )


@pytest.fixture
def bench(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Bench]:
    made = Bench(tmp_path, getattr(request, "param", 60.0))
    yield made
    made.stop()


def test_the_one_before_stays_fresh_while_the_next_catches_up(bench: Bench) -> None:
    bench.generation(1)
    bench.events("a", "b", "c")
    wait_until(lambda: bench.has_all(1), "the first generation is fed")
    bench.generation(2, "slow")
    assert bench.gate.reached.wait(60)
    for number in range(20):
        bench.events(f"during {number}")
        wait_until(lambda: bench.has_all(1), "the first generation stays fresh")
    assert bench.held(2) == []
    bench.gate.open.set()
    wait_until(lambda: bench.has_all(2), "the second generation catches up")
    bench.events("after")
    wait_until(lambda: bench.has_all(1) and bench.has_all(2), "both are fed")
    assert bench.layer.totals.counts["restarts"] == 0


@pytest.mark.parametrize("bench", [0.0], indirect=True)
def test_the_one_before_is_left_after_the_overlap(bench: Bench) -> None:
    bench.generation(1)
    bench.events("a")
    wait_until(lambda: bench.has_all(1), "the first generation is fed")
    bench.generation(2)
    wait_until(lambda: bench.has_all(2), "the second generation catches up")

    def only_the_second() -> bool:
        before = bench.held(1)
        bench.events(f"later {len(bench.lines)}")
        wait_until(lambda: bench.has_all(2), "the second generation is fed")
        return bench.held(1) == before

    wait_until(only_the_second, "the first generation is fed no more")


def test_a_third_generation_passes_over_one_that_has_not_caught_up(bench: Bench) -> None:
    bench.generation(1)
    bench.events("a", "b")
    wait_until(lambda: bench.has_all(1), "the first generation is fed")
    bench.generation(2, "slow")
    assert bench.gate.reached.wait(60)
    bench.generation(3)
    bench.events("c")
    wait_until(lambda: bench.has_all(1), "the first generation stays fresh")
    bench.gate.open.set()
    wait_until(lambda: bench.has_all(3), "the third generation catches up")
    bench.events("d")
    wait_until(lambda: bench.has_all(1) and bench.has_all(3), "the first and the third are fed")


def test_an_event_that_only_the_next_generation_cannot_bear_is_left_out(bench: Bench) -> None:
    bench.generation(1)
    bench.events("a", "poison", "b")
    wait_until(lambda: bench.has_all(1), "the first generation is fed")
    bench.generation(2, "poison")
    wait_until(lambda: bench.held(2) == ["a", "b"], "the second one has the others")
    bench.events("c")
    wait_until(lambda: bench.held(2) == ["a", "b", "c"], "the second one is fed")
    assert bench.has_all(1)
    assert bench.layer.totals.counts["failed_events"] == 1


@pytest.mark.parametrize("bench", [60.0], indirect=True)
def test_many_events_that_come_during_the_switch_count_once_in_each(bench: Bench) -> None:
    bench.generation(1)
    bench.events(*(f"before {number}" for number in range(3000)))
    sent = threading.Event()

    def go_on() -> None:
        for number in range(200):
            bench.events(*(f"during {number}:{n}" for n in range(20)))
        sent.set()

    thread = threading.Thread(target=go_on)
    thread.start()
    bench.generation(2)
    thread.join(60)
    assert sent.is_set()
    wait_until(lambda: bench.has_all(1) and bench.has_all(2), "both have all 7,000 once")
    assert len(bench.held(2)) == 7000
