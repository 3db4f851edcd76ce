"""The speed layer with a real broker and a real Spark: what goes in, and what comes out."""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from common.apps.wordcount import Lines
from common.base.hashing import sha256_hex
from common.broker import open_broker
from common.broker.api import read_all
from common.config import Settings
from common.runtime.configuration import load
from common.store.generations import Generation, Manifest, ModelStore
from common.wire.messages import MODEL, PROGRESS, UP, Message, Stamp
from speed_layer.apps.wordcount import Speed
from speed_layer.run.follower import SupersededError
from speed_layer.run.layer import Family, SpeedLayer
from speed_layer.run.stream import spark_stream
from tests.waiting import wait_until

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = pytest.mark.integration


@dataclass
class Bench:
    """A speed layer on a thread, with topics and a store of its own."""

    settings: Settings
    spark: SparkSession
    failure: list[BaseException] = field(default_factory=list)
    threads: list[tuple[SpeedLayer, threading.Thread]] = field(default_factory=list)

    @property
    def store(self) -> ModelStore:
        return ModelStore(self.settings.batch.storage.model_dir)

    def start(self) -> SpeedLayer:
        connect = functools.partial(open_broker, self.settings)
        family = Family(functools.partial(Speed, self.settings), Lines(self.settings).read)
        stream = functools.partial(spark_stream, self.settings, self.spark)
        layer = SpeedLayer(self.settings, stream, family, connect)

        def run() -> None:
            try:
                layer.run()
            except SupersededError as error:
                self.failure.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        self.threads.append((layer, thread))
        return layer

    def stop(self) -> None:
        for layer, thread in self.threads:
            layer.stop()
            thread.join(60)
            assert not thread.is_alive()

    def send(self, messages: list[Message]) -> None:
        with open_broker(self.settings) as broker:
            producer = broker.producer()
            for message in messages:
                headers = message.stamp.to_headers() if message.stamp else ()
                name = self.settings.update_topic.name
                producer.send(name, message.key, message.value, headers)
            producer.close()

    def events(self, lines: Sequence[str | bytes]) -> None:
        with open_broker(self.settings) as broker:
            producer = broker.producer()
            for line in lines:
                producer.send(self.settings.input_topic.name, None, line)
            producer.close()

    def generation(self, id_: int, text: str) -> Generation:
        """Store and publish a generation that knows nothing of the input topic yet."""
        folder = self.store.new(id_)
        (folder / "model.json").write_text(text)
        (folder / "neighbours.json").write_text("{}")
        with open_broker(self.settings) as broker:
            topic = broker.topic(self.settings.input_topic.name)
        assert topic is not None
        created = time.time_ns() // 1_000_000
        manifest = Manifest(id_, "wordcount", "model.json", {}, topic.topic_id, {}, created=created)
        made = self.store.commit(folder, manifest)
        stamp = Stamp(id_, 0, sha256_hex(text.encode()), made.manifest_sha256)
        self.send([Message(MODEL, text, stamp)])
        return made

    def sent(self) -> list[Message]:
        """All that is on the update topic."""
        with open_broker(self.settings) as broker:
            name = self.settings.update_topic.name
            reader = broker.reader(name)
            records = list(read_all(reader, broker.end_offsets(name)))
            reader.close()
        return [Message.from_record(r.key, r.value, r.headers) for r in records]

    def updates(self, generation: int | None) -> list[str]:
        """Payloads of the updates of a generation."""
        return [
            m.value
            for m in self.sent()
            if m.key == UP and (m.stamp.generation if m.stamp else None) == generation
        ]

    def closed(self, generation: int) -> int:
        """How many micro-batches of a generation are closed."""
        stamps = [m.stamp for m in self.sent() if m.key == PROGRESS and m.stamp]
        return sum(stamp.generation == generation for stamp in stamps)


@pytest.fixture
def bench(
    tmp_path: Path, kafka_broker: str, spark: SparkSession, request: pytest.FixtureRequest
) -> Iterator[Bench]:
    name = f"speed-{request.node.name.replace('_', '-')}"
    flags = {
        "app": "wordcount",
        "input_topic.broker": kafka_broker,
        "input_topic.name": f"{name}.input",
        "update_topic.name": f"{name}.update",
        "batch.storage.model_dir": str(tmp_path / "model"),
    }
    made = Bench(load(flags=flags, environment={}), spark)
    with open_broker(made.settings) as broker:
        broker.create_topic(made.settings.input_topic.name, 2)
        broker.create_topic(made.settings.update_topic.name, 1)
    yield made
    made.stop()


def test_a_foreign_model_and_a_thousand_events_give_a_thousand_updates(bench: Bench) -> None:
    """Oryx's own test of its speed layer: one MODEL, nine updates of others, 1,000 events."""
    bench.send([Message(MODEL, '{"a":1}'), *(Message(UP, f"o{n},1") for n in range(9))])
    layer = bench.start()
    # A foreign model says nothing of offsets: it is followed from now on.
    bench.events(["first"])
    wait_until(lambda: bool(repeat(bench, "again") or layer.totals.events), "it is at work")
    before = len(bench.updates(None))
    bench.events([f"word{n}" for n in range(1000)])
    wait_until(lambda: len(bench.updates(None)) >= before + 1000, "all updates are sent")
    assert len({value for value in bench.updates(None) if value.startswith("word")}) == 1000
    assert not any(message.key == PROGRESS for message in bench.sent())


def repeat(bench: Bench, line: str) -> None:
    """Send an event once more, until the layer follows."""
    bench.events([line])


def test_everything_after_the_cut_is_folded_in_and_bad_lines_are_passed_over(
    bench: Bench,
) -> None:
    bench.events(["b c", "   ", "c d", "x" * 70_000, b"\xff not text"])
    bench.generation(1, '{"a":1}')
    layer = bench.start()
    wait_until(lambda: layer.totals.events == 5, "the backlog is folded in")
    assert layer.totals.bad_lines == 3
    counts = dict(value.split(",")[:2] for value in bench.updates(1))
    assert counts == {"b": "1", "c": "2", "d": "1"}
    assert bench.closed(1) >= 1


def test_a_new_generation_is_taken_up_from_its_own_cut(bench: Bench) -> None:
    bench.events(["b c"])
    bench.generation(1, "{}")
    bench.start()
    wait_until(lambda: bench.closed(1) >= 1, "the first generation is followed")
    bench.generation(2, "{}")
    bench.events(["d e"])
    wait_until(lambda: {"d,1,e", "b,1,c"} <= set(bench.updates(2)), "the second one is")
    sequences = [m.stamp.sequence for m in bench.sent() if m.stamp and m.stamp.generation == 2]
    assert sequences == sorted(set(sequences))


def test_f4_an_input_topic_that_is_made_again_is_read_from_its_beginning(bench: Bench) -> None:
    bench.events(["b c"])
    bench.generation(1, "{}")
    layer = bench.start()
    wait_until(lambda: "b,1,c" in bench.updates(1), "it is at work")
    with open_broker(bench.settings) as broker:
        broker.delete_topic(bench.settings.input_topic.name)
        broker.create_topic(bench.settings.input_topic.name, 2)
    bench.events(["d e", "f g"])
    wait_until(lambda: {"d,1,e", "f,1,g"} <= set(bench.updates(1)), "all of it is folded in")
    assert layer.totals.counts["input_topic_changes"] == 1


def test_a4_of_two_layers_the_later_one_goes_on(bench: Bench) -> None:
    bench.events(["b c"])
    bench.generation(1, "{}")
    bench.start()
    wait_until(lambda: "b,1,c" in bench.updates(1), "the first one is at work")
    bench.start()
    wait_until(lambda: bool(bench.failure), "the first one stops")
    assert "has taken over" in str(bench.failure[0])
    bench.events(["d e"])
    wait_until(lambda: "d,1,e" in bench.updates(1), "the second one is at work")
    sequences = [m.stamp.sequence for m in bench.sent() if m.stamp and m.stamp.generation == 1]
    assert sequences == list(range(len(sequences)))


def test_a_generation_that_cannot_be_used_is_refused_and_the_next_one_taken(bench: Bench) -> None:
    bad = bench.generation(1, "not json")
    bench.start()
    bench.generation(bad.id + 1, "{}")
    bench.events(["x y"])
    wait_until(lambda: "x,1,y" in bench.updates(2), "the good one is followed")
    assert bench.updates(1) == []
