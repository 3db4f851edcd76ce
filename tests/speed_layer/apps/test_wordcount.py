import json
from pathlib import Path

import pytest

from common.apps.wordcount import NEIGHBOURS_FILE, Lines, neighbours
from common.replica.updates import ModelMessage
from common.runtime.configuration import load
from common.store.generations import Manifest, ModelStore
from common.wire.messages import MessageError
from speed_layer.api import Events
from speed_layer.apps.wordcount import Speed
from tests.micro_batches import micro_batch

PAST = ["a b", "a c", "d"]


def events(*lines: str) -> Events:
    return micro_batch(Lines(load()), lines)


def stored(folder: Path, lines: list[str]) -> ModelMessage:
    found = neighbours(lines)
    store = ModelStore(str(folder))
    aside = store.new(1)
    text = json.dumps({word: len(others) for word, others in found.items()})
    (aside / "model.json").write_text(text)
    (aside / NEIGHBOURS_FILE).write_text(json.dumps({w: sorted(o) for w, o in found.items()}))
    files = store.commit(aside, Manifest(1, "wordcount", "model.json", {}, "topic", {}))
    return ModelMessage(1, text, files)


def test_a_pair_counts_once_before_and_after_the_cut(tmp_path: Path) -> None:
    speed = Speed(load())
    speed.load(stored(tmp_path, PAST))
    assert speed.build_updates(events("b a", "a d", "e")) == ["a,3,d", "d,1,a", "e,0"]
    assert speed.build_updates(events("b a", "a d", "e")) == []


def test_past_and_new_add_up_to_one_batch(tmp_path: Path) -> None:
    new = ["b c d", "c a", "e e", "x a"]
    speed = Speed(load())
    speed.load(stored(tmp_path, PAST))
    counts = {word: len(others) for word, others in neighbours(PAST).items()}
    for line in new:
        for update in speed.build_updates(events(line)):
            word, count, *_ = update.split(",")
            counts[word] = int(count)
    expected = {word: len(others) for word, others in neighbours(PAST + new).items()}
    assert counts == expected
    assert len(counts) == 6


def test_a_restart_repeats_no_pair(tmp_path: Path) -> None:
    first, second = Speed(load()), Speed(load())
    for speed in (first, second):
        speed.load(stored(tmp_path / str(id(speed)), PAST))
    updates = first.build_updates(events("b d", "f,g h"))
    assert updates == ["b,2,d", "d,1,b", '"f,g",1,h', 'h,1,"f,g"']
    for update in updates:
        second.apply(update)
    assert second.build_updates(events("b d", "f,g h", "b h")) == ["b,3,h", "h,2,b"]


def test_counts_alone_are_added_to() -> None:
    speed = Speed(load())
    speed.load(ModelMessage(None, '{"a":2}'))
    assert speed.fraction_loaded == 1.0
    assert speed.build_updates(events("a b")) == ["a,3,b", "b,1,a"]


def test_a_bad_model_leaves_the_old_one() -> None:
    speed = Speed(load())
    speed.load(ModelMessage(None, '{"a":2}'))
    with pytest.raises(MessageError):
        speed.load(ModelMessage(None, "[]"))
    with pytest.raises(MessageError):
        speed.apply("a")
    assert speed.build_updates(events("a")) == []
