"""A view: what a micro-batch publishes, and what a restart finds again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pyarrow as pa
import pytest

from common.broker.memory import MemoryBroker
from common.replica.positions import position_at
from common.replica.updates import ModelMessage, stored
from common.store.generations import Manifest, ModelStore
from common.wire.messages import PROGRESS, UNBOUND, UP, WRITER, Claim, Message, Progress
from speed_layer.api import Events, SpeedModel
from speed_layer.run.view import UpdateLog, View, open_view

TOPIC = "update"
EPOCH = 0


@dataclass
class Summing(SpeedModel):
    """A model that is a running sum; each update says the new sum."""

    total: int = 0
    applied: list[str] = field(default_factory=list)
    fraction_loaded: float = 1.0

    def load(self, model: ModelMessage) -> None:
        self.total = int(model.text)

    def apply(self, update: str) -> None:
        self.applied.append(update)
        self.total = int(update)

    def build_updates(self, events: Events) -> Sequence[str]:
        found = []
        for value in events.columns["value"].to_pylist():
            self.total += int(value)
            found.append(str(self.total))
        return found


def events(offsets: range, partition: int = 0) -> pa.Table:
    return pa.table(
        {
            "partition": pa.array([partition] * len(offsets), pa.int32()),
            "offset": pa.array(offsets, pa.int64()),
            "timestamp": pa.array([1000 + at for at in offsets], pa.int64()),
            "value": pa.array([str(at) for at in offsets]),
        }
    )


@pytest.fixture
def broker() -> MemoryBroker:
    broker = MemoryBroker(clock=lambda: 2000)
    broker.create_topic(TOPIC, 1)
    publish(broker, [claim("one")])
    return broker


@pytest.fixture
def source(tmp_path: Path) -> ModelMessage:
    store = ModelStore(str(tmp_path))
    folder = store.new(5)
    (folder / "model.json").write_text("100")
    manifest = Manifest(5, "sum", "model.json", {}, "t", {0: 10, 1: 3}, created=2000)
    return stored(store.commit(folder, manifest))


def open_(source: ModelMessage, broker: MemoryBroker, epoch: int = EPOCH) -> View:
    view = open_view(source, Summing, UpdateLog(broker, TOPIC, "sum", epoch))
    assert view is not None
    return view


def claim(writer: str) -> Message:
    return Message(WRITER, Claim(writer, "sum").to_value(), UNBOUND)


def publish(broker: MemoryBroker, messages: Sequence[Message]) -> None:
    producer = broker.producer()
    for message in messages:
        producer.send(
            TOPIC, message.key, message.value, message.stamp.to_headers() if message.stamp else ()
        )
    producer.flush()


def fold(view: View, batch: pa.Table) -> list[Message]:
    return list(view.fold(batch, good(batch)))


def good(batch: pa.Table) -> Events:
    (rows,) = batch.to_batches()
    return Events(rows.select(["partition", "offset", "timestamp"]), rows.select(["value"]))


def test_a_new_view_starts_at_the_cut(source: ModelMessage, broker: MemoryBroker) -> None:
    view = open_(source, broker)
    assert view.offsets == {0: 10, 1: 3}
    assert view.generation == 5


def test_a_micro_batch_is_closed_by_its_progress(
    source: ModelMessage, broker: MemoryBroker
) -> None:
    view = open_(source, broker)
    messages = fold(view, events(range(10, 13)))
    assert [m.key for m in messages] == [UP, UP, UP, PROGRESS]
    assert [m.value for m in messages[:3]] == ["110", "121", "133"]
    assert [m.stamp.sequence for m in messages if m.stamp] == [1, 2, 3, 4]
    assert messages[0].stamp is not None
    assert messages[0].stamp.input == "0:12"
    assert messages[0].stamp.event_time == 1012
    assert Progress.from_value(messages[3].value) == Progress(
        {0: 13, 1: 3}, 1012, since=1, topic_id="t"
    )


def test_lines_that_cannot_be_read_still_move_the_offsets(
    source: ModelMessage, broker: MemoryBroker
) -> None:
    view = open_(source, broker)
    batch, none = events(range(10, 12)), pa.record_batch({"value": pa.array([], pa.string())})
    messages = list(view.fold(batch, Events(none, none)))
    assert [m.key for m in messages] == [PROGRESS]
    assert view.offsets == {0: 12, 1: 3}


def test_a_restart_goes_on_where_the_last_progress_stands(
    source: ModelMessage, broker: MemoryBroker
) -> None:
    view = open_(source, broker)
    publish(broker, fold(view, events(range(10, 13))))
    again = open_(source, broker)
    assert again.offsets == {0: 13, 1: 3}
    assert isinstance(again.model, Summing)
    assert again.model.total == 133
    assert fold(again, events(range(13, 14)))[0].stamp == fold(view, events(range(13, 14)))[0].stamp


def test_a_micro_batch_that_was_not_closed_is_folded_again(
    source: ModelMessage, broker: MemoryBroker
) -> None:
    view = open_(source, broker)
    publish(broker, fold(view, events(range(10, 13))))
    publish(broker, fold(view, events(range(13, 16)))[:2])  # killed in the middle
    again = open_(source, broker)
    assert again.offsets == {0: 13, 1: 3}
    publish(broker, fold(again, events(range(13, 20))))
    third = open_(source, broker)
    assert third.offsets == {0: 20, 1: 3}
    assert isinstance(third.model, Summing)
    assert third.model.total == 100 + sum(range(10, 20))


def test_a3_messages_that_retention_removed_are_made_again_from_the_cut(
    source: ModelMessage, broker: MemoryBroker
) -> None:
    view = open_(source, broker)
    assert not view.restated
    publish(broker, fold(view, events(range(10, 13))))
    broker.delete_records(TOPIC, {0: 3})
    again = open_(source, broker)
    assert again.restated
    assert again.offsets == {0: 10, 1: 3}
    assert isinstance(again.model, Summing)
    assert again.model.total == 100
    statement = again.statement()
    assert statement.stamp is not None
    assert statement.stamp.sequence == again.since > 4
    told = Progress.from_value(statement.value)
    assert told == Progress({0: 10, 1: 3}, since=again.since, topic_id="t")
    first = fold(again, events(range(10, 13)))[0]
    assert first.stamp is not None
    assert first.stamp.sequence == again.since + 1
    # Once that has been written, a restart stands on it.
    publish(broker, [statement, first])
    third = open_(source, broker)
    assert not third.restated
    assert third.since == again.since
    assert third.stands_on == 5


def test_f7_sequences_are_above_all_used_even_if_none_is_left(
    source: ModelMessage, broker: MemoryBroker
) -> None:
    view = open_(source, broker)
    assert source.files is not None
    source.files.store.note_position(5, position_at(broker, TOPIC, source.files, 1))
    publish(broker, fold(view, events(range(10, 13))))
    used = view.log.closed
    broker.delete_records(TOPIC, {0: broker.end_offsets(TOPIC)[0]})
    again = open_(source, broker)
    assert again.restated
    assert again.since > used


def test_f7_of_an_older_generation_too(source: ModelMessage, broker: MemoryBroker) -> None:
    view = open_(source, broker)
    publish(broker, fold(view, events(range(10, 13))))
    broker.delete_records(TOPIC, {0: broker.end_offsets(TOPIC)[0]})
    assert open_(source, broker).since > view.log.closed


def test_d1_of_two_writers_the_later_one_takes_what_readers_take(
    source: ModelMessage, broker: MemoryBroker
) -> None:
    older = open_(source, broker)
    publish(broker, fold(older, events(range(10, 13))))
    publish(broker, fold(older, events(range(13, 16)))[:2])  # and then it is stopped
    epoch = broker.end_offsets(TOPIC)[0]
    publish(broker, [claim("two")])
    later = open_(source, broker, epoch)
    assert later.offsets == {0: 13, 1: 3}
    publish(broker, fold(later, events(range(13, 15))))
    publish(broker, fold(older, events(range(16, 30))))  # it goes on
    publish(broker, fold(later, events(range(15, 18))))
    again = open_(source, broker, epoch)
    assert again.offsets == later.offsets == {0: 18, 1: 3}
    assert isinstance(again.model, Summing)
    assert again.model.total == 100 + sum(range(10, 18))
    assert not again.restated


def test_an_update_over_which_the_family_fails_costs_itself_alone(
    source: ModelMessage, broker: MemoryBroker
) -> None:
    view = open_(source, broker)
    publish(broker, [*view._stamped(["101", "no number", "7"], Progress({0: 12}))])
    origin = UpdateLog(broker, TOPIC, "sum", EPOCH)
    again = open_view(source, Summing, origin)
    assert again is not None
    assert isinstance(again.model, Summing)
    assert (again.model.total, again.offsets) == (7, {0: 12, 1: 3})
    assert origin.counts["updates_not_restored"] == 1


def test_f4_progress_on_another_input_topic_does_not_mix_with_the_cut(
    source: ModelMessage, broker: MemoryBroker
) -> None:
    view = open_(source, broker)
    view.read_from("made again", {0: 0})
    assert (view.topic_id, view.offsets) == ("made again", {0: 0})
    publish(broker, fold(view, events(range(2))))
    again = open_(source, broker)
    assert (again.topic_id, again.offsets) == ("made again", {0: 2})


def test_updates_that_the_batch_layer_never_sends_are_not_waited_for_to_the_end(
    source: ModelMessage, broker: MemoryBroker
) -> None:
    announced = replace(source, updates=2)
    asked = iter([False, True])
    assert (
        open_view(announced, Summing, UpdateLog(broker, TOPIC, "sum"), lambda: next(asked)) is None
    )
    assert list(asked) == []


def test_a_foreign_model_gets_plain_updates(broker: MemoryBroker) -> None:
    view = open_(ModelMessage(None, "7"), broker)
    assert fold(view, events(range(2))) == [Message(UP, "7"), Message(UP, "8")]
