"""Following the update topic: verified models, and each update once."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.base.hashing import sha256_hex
from common.broker.memory import MemoryBroker
from common.replica.slot import Slot
from common.replica.updates import SequenceLog, resolve, start_position
from common.store.generations import Generation, Manifest, ModelStore, StoreError
from common.wire.messages import (
    MODEL,
    MODEL_REF,
    PROGRESS,
    UP,
    Message,
    MessageError,
    Progress,
    Stamp,
)


def up(sequence: int, value: str = "") -> Message:
    return Message(UP, value or str(sequence), Stamp(1, sequence))


def closing(sequence: int, offset: int = 0) -> Message:
    return Message(PROGRESS, Progress({0: offset}).to_value(), Stamp(1, sequence))


def stored(tmp_path: Path, generation: int = 1, text: str = "<PMML/>") -> Generation:
    store = ModelStore(str(tmp_path / "model"))
    folder = store.new(generation)
    (folder / "model.pmml").write_text(text)
    manifest = Manifest(generation, "als", "model.pmml", {}, "t", {0: 4}, created=1000)
    return store.commit(folder, manifest)


class TestSequenceLog:
    def test_updates_count_from_the_progress_that_closes_them(self) -> None:
        log = SequenceLog()
        assert log.accept(up(1)) == []
        assert log.accept(up(2)) == []
        assert log.accept(closing(3, offset=9)) == ["1", "2"]
        assert log.progress.offsets == {0: 9}
        assert log.closed == 3

    def test_a_replay_changes_nothing(self) -> None:
        log = SequenceLog()
        messages = [up(1), up(2), closing(3)]
        first = [value for message in messages for value in log.accept(message)]
        again = [value for message in messages for value in log.accept(message)]
        assert first == ["1", "2"]
        assert again == []
        assert log.repeats == 3

    def test_what_a_killed_sender_left_open_is_dropped(self) -> None:
        log = SequenceLog()
        for message in (up(1), closing(2), up(3, "dead"), up(4, "dead"), up(5, "dead")):
            log.accept(message)
        assert log.accept(up(3, "alive")) == []
        assert log.accept(closing(4)) == ["alive"]
        assert log.orphans == 3
        assert log.gaps == 0

    def test_missing_sequences_are_counted(self) -> None:
        log = SequenceLog()
        log.accept(up(4))
        assert log.gaps == 3

    @given(st.lists(st.integers(0, 4), min_size=1, max_size=8), st.data())
    def test_any_number_of_deaths_leaves_each_micro_batch_once(
        self, sizes: list[int], data: st.DataObject
    ) -> None:
        log, applied, sequence = SequenceLog(), [], 1
        for number, size in enumerate(sizes):
            sent = [up(sequence + i, f"{number}:{i}") for i in range(size)]
            died_after = data.draw(st.integers(0, size))
            for message in sent[:died_after]:
                applied += log.accept(message)
            for message in [*sent, closing(sequence + size)]:
                applied += log.accept(message)
            sequence += size + 1
        assert applied == [f"{n}:{i}" for n, size in enumerate(sizes) for i in range(size)]


class TestResolve:
    def message(self, generation: Generation, key: str, **changes: object) -> Message:
        text = generation.model_text()
        stamp = Stamp(
            **{  # type: ignore[arg-type]
                "generation": generation.id,
                "sequence": 0,
                "sha256": sha256_hex(text.encode()),
                "manifest": generation.manifest_sha256,
                **changes,
            }
        )
        return Message(key, text if key == MODEL else generation.reference, stamp)

    @pytest.mark.parametrize("key", [MODEL, MODEL_REF])
    def test_a_model_comes_with_its_verified_files(self, tmp_path: Path, key: str) -> None:
        generation = stored(tmp_path)
        model = resolve(self.message(generation, key), generation.store)
        assert model.generation == 1
        assert model.text == "<PMML/>"
        assert model.cut == {0: 4}

    @pytest.mark.parametrize("key", [MODEL, MODEL_REF])
    def test_another_text_than_was_published_is_refused(self, tmp_path: Path, key: str) -> None:
        generation = stored(tmp_path)
        message = self.message(generation, key, sha256="0" * 64)
        with pytest.raises(MessageError, match="not what its sha256 header says"):
            resolve(message, generation.store)

    def test_a_generation_out_of_reach_says_what_to_do(self, tmp_path: Path) -> None:
        generation = stored(tmp_path)
        elsewhere = ModelStore(str(tmp_path / "elsewhere"))
        with pytest.raises(StoreError, match=r"batch\.storage\.model_dir"):
            resolve(self.message(generation, MODEL), elsewhere)

    def test_without_files_the_topic_may_bring_everything(self, tmp_path: Path) -> None:
        generation = stored(tmp_path)
        elsewhere = ModelStore(str(tmp_path / "elsewhere"))
        model = resolve(self.message(generation, MODEL, updates=20), elsewhere)
        assert model.files is None
        assert model.updates == 20

    def test_a_foreign_model_is_taken_as_it_is(self, tmp_path: Path) -> None:
        store = stored(tmp_path).store
        assert resolve(Message(MODEL, "{}"), store).generation is None
        with pytest.raises(StoreError, match="cannot be read"):
            resolve(Message(MODEL_REF, store.locate("9/model.pmml")), store)


def test_a_slot_holds_its_cut_or_the_progress_beyond_it() -> None:
    slot = Slot(1, None, {0: 5, 1: 2}, SequenceLog(progress=Progress({1: 7, 2: 1})))
    assert slot.offsets == {0: 5, 1: 7, 2: 1}


def test_reading_starts_at_the_newest_generation(tmp_path: Path) -> None:
    now = iter(range(500, 5000, 200))
    broker = MemoryBroker(clock=lambda: next(now))
    broker.create_topic("u", 1)
    producer = broker.producer()
    for number in range(6):  # at 500, 700, 900, 1100, …
        producer.send("u", "UP", str(number))
    producer.flush()
    assert start_position(broker, "u", None) == {0: 0}
    assert start_position(broker, "u", stored(tmp_path)) == {0: 3}
