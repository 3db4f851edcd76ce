"""Generations of word count, on a real broker and with real Spark."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from batch_layer.apps import wordcount
from common.wire.messages import MODEL, MODEL_REF, Message, Stamp

if TYPE_CHECKING:
    from tests.batch_layer.conftest import Place

pytestmark = pytest.mark.integration


def messages(place: Place) -> list[Message]:
    return [Message.from_record(r.key, r.value, r.headers) for r in place.updates()]


def test_a_generation_from_the_topic_to_the_topic(place: Place) -> None:
    place.send("a b", "a c", "d", "  ")
    layer = place.layer()
    generation = layer.run_once()
    assert generation is not None
    manifest = generation.manifest
    assert manifest.generation == place.clock
    assert manifest.app == "wordcount"
    assert manifest.cut == place.broker.end_offsets(place.topic)
    assert manifest.history_version == place.history.version()
    assert manifest.data_range == place.history.data_range()
    assert manifest.parent is None
    assert len(manifest.configuration_sha256) == 64

    (model,) = messages(place)
    assert model.key == MODEL
    assert json.loads(model.value) == {"a": 2, "b": 1, "c": 1, "d": 0}
    assert model.stamp == Stamp(
        generation.id,
        0,
        sha256=manifest.files["model.json"],
        manifest=generation.manifest_sha256,
        updates=0,
    )
    assert place.store.is_published(generation.id)
    report = layer.report
    assert (report.lines, report.refused, report.new_rows, report.past_rows) == (4, 1, 3, 0)
    assert set(report.seconds) == {"ingest", "training", "commit", "publish", "ageing"}


def test_nothing_new_gives_no_generation(place: Place) -> None:
    layer = place.layer()
    assert layer.run_once() is None
    place.send("  ")
    assert layer.run_once() is None
    assert place.updates() == []
    place.send("a b")
    assert layer.run_once() is not None
    assert layer.run_once() is None
    assert len(place.updates()) == 1
    assert len(place.store.ids()) == 1


def test_past_grows_by_what_was_new(place: Place) -> None:
    layer, seen, stored = place.layer(), [], []
    for count in (3, 5, 4):
        place.send(*(f"a w{number}" for number in range(count)))
        generation = layer.run_once()
        assert generation is not None
        seen.append((layer.report.new_rows, layer.report.past_rows))
        stored.append((generation.id, generation.manifest.parent))
    assert seen == [(3, 0), (5, 3), (4, 8)]
    assert len(place.rows()) == 12
    # The clock stood still: ids grow all the same.
    ids = [id_ for id_, _ in stored]
    assert ids == sorted(set(ids))
    assert [parent for _, parent in stored] == [None, *ids[:-1]]


def test_a_stored_generation_that_was_not_published_is_published_by_the_next_run(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.send("a b")
    with monkeypatch.context() as patch:
        patch.setattr(wordcount.Batch, "updates", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            place.layer().run_once()
    assert place.updates() == []
    (stored,) = place.store.ids()
    assert not place.store.is_published(stored)

    assert place.layer().run_once() is None
    (model,) = messages(place)
    assert model.stamp is not None
    assert model.stamp.generation == stored
    assert place.store.is_published(stored)


def test_a_family_that_builds_nothing_publishes_nothing(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.send("a b")
    monkeypatch.setattr(wordcount.Batch, "run", lambda *_: None)
    assert place.layer().run_once() is None
    assert place.updates() == []
    assert place.store.ids() == []
    assert len(place.rows()) == 1


def test_age_0_leaves_neither_history_nor_generations(place: Place) -> None:
    place.flags["batch.storage.max_age_data_hours"] = "0"
    place.flags["batch.storage.max_age_model_hours"] = "0"
    place.send("a b")
    assert place.layer().run_once() is not None
    assert place.rows() == []
    assert place.store.ids() == []
    assert len(place.updates()) == 1
    # What was aged away is not read again.
    assert place.layer().run_once() is None


def test_a_topic_made_again_makes_the_old_history_past(place: Place) -> None:
    place.send("a b", "a c")
    first = place.layer().run_once()
    place.broker.delete_topic(place.topic)
    place.make_topics()
    place.send("a d")
    layer = place.layer(accept_loss=True)
    second = layer.run_once()
    assert first is not None
    assert second is not None
    assert (layer.report.new_rows, layer.report.past_rows) == (1, 2)
    assert second.manifest.topic_id != first.manifest.topic_id
    assert json.loads(second.model_text())["a"] == 3


def test_a_large_model_goes_by_reference(place: Place) -> None:
    place.flags["update_topic.max_size"] = "1024"
    place.send(*(f"word{number} other{number}" for number in range(100)))
    generation = place.layer().run_once()
    assert generation is not None
    (model,) = messages(place)
    assert (model.key, model.value) == (MODEL_REF, generation.reference)
    assert json.loads(place.store.read_reference(model.value))["word7"] == 1


def test_a_message_just_below_16_mib_passes_through_kafka(place: Place) -> None:
    value = "x" * (16 * 1024 * 1024 - 16 * 1024)
    producer = place.broker.producer()
    producer.send(place.settings.update_topic.name, MODEL, value)
    producer.flush()
    (record,) = place.updates()
    assert record.value == value.encode()
