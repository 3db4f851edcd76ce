"""The model store: what is written becomes visible at once, and what is read is verified."""

from __future__ import annotations

import errno
import json
import shutil
from pathlib import Path

import pytest

from common.store.files import RemoteFiles
from common.store.generations import (
    MANIFEST,
    Generation,
    Manifest,
    ModelStore,
    StoreError,
)
from common.store.position import Position


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(str(tmp_path / "model"))


def put(store: ModelStore, generation: int, text: str = "<PMML/>") -> Generation:
    folder = store.new(generation)
    (folder / "model.pmml").write_text(text)
    (folder / "part").mkdir()
    (folder / "part" / "factors.parquet").write_bytes(b"\x01\x02")
    manifest = Manifest(
        generation,
        "als",
        "model.pmml",
        {},
        "topic",
        {0: 10, 3: 7},
        data_range=(5, 9),
        metrics={"auc": 0.75, "rmse": None},
        candidates=({"features": 10},),
    )
    return store.commit(folder, manifest)


def test_an_empty_store_has_no_newest(store: ModelStore) -> None:
    assert store.newest() is None
    assert store.ids() == []


def test_a_generation_reads_back_as_it_was_written(store: ModelStore) -> None:
    written = put(store, 12)
    read = store.newest()
    assert read is not None
    assert read.manifest == written.manifest
    assert read.manifest.cut == {0: 10, 3: 7}
    assert set(read.manifest.files) == {"model.pmml", "part/factors.parquet"}
    assert read.model_text() == "<PMML/>"
    assert read.path("part/factors.parquet").read_bytes() == b"\x01\x02"
    assert store.read_reference(read.reference) == "<PMML/>"
    assert store.get(12, written.manifest_sha256).id == 12


def test_generations_are_listed_by_number(store: ModelStore) -> None:
    for generation in (100, 9, 20):
        put(store, generation)
    assert store.ids() == [9, 20, 100]


def test_what_is_being_written_does_not_exist_yet(store: ModelStore) -> None:
    (store.new(3) / "model.pmml").write_text("half")
    assert store.ids() == []
    store.discard_partial()
    put(store, 3)
    assert store.ids() == [3]


@pytest.mark.parametrize("damage", [b"<PMML />", b"", b"<PMML/> "])
def test_a_damaged_file_is_refused_by_name(store: ModelStore, damage: bytes) -> None:
    path = put(store, 1).path("model.pmml")
    path.write_bytes(damage)
    with pytest.raises(StoreError, match=r"model\.pmml is damaged"):
        store.get(1).model_text()


def test_a_file_that_is_gone_is_named(store: ModelStore) -> None:
    generation = put(store, 1)
    generation.path("model.pmml").unlink()
    with pytest.raises(StoreError, match=r"model\.pmml cannot be read"):
        generation.model_text()


def test_a_file_that_the_manifest_does_not_name_is_refused(store: ModelStore) -> None:
    with pytest.raises(StoreError, match="has no file 'other'"):
        put(store, 1).path("other")


def test_another_manifest_than_the_published_one_is_refused(store: ModelStore) -> None:
    put(store, 1)
    with pytest.raises(StoreError, match="not the manifest that was published"):
        store.get(1, "0" * 64)


def test_a_manifest_of_another_generation_is_refused(store: ModelStore, tmp_path: Path) -> None:
    put(store, 1)
    (tmp_path / "model" / "1").rename(tmp_path / "model" / "2")
    with pytest.raises(StoreError, match="says that it is generation 1"):
        store.get(2)


@pytest.mark.parametrize("text", [b"", b"[]", b"{}", b'{"generation": 1}', b"\xff"])
def test_a_broken_manifest_is_refused(store: ModelStore, tmp_path: Path, text: bytes) -> None:
    put(store, 1)
    (tmp_path / "model" / "1" / MANIFEST).write_bytes(text)
    with pytest.raises(StoreError, match="is not a manifest"):
        store.get(1)


@pytest.mark.parametrize(
    "reference",
    ["/etc/passwd", "{root}/../secret", "http://host/x", "/dev/zero", "{root}/1/../../secret"],
)
def test_a_reference_out_of_the_store_is_refused(
    store: ModelStore, tmp_path: Path, reference: str
) -> None:
    put(store, 1)
    (tmp_path / "secret").write_text("no")
    with pytest.raises(StoreError, match=r"outside the model store|not a path inside"):
        store.read_reference(reference.format(root=tmp_path / "model"))


def test_a_link_out_of_the_store_is_refused(store: ModelStore, tmp_path: Path) -> None:
    put(store, 1)
    (tmp_path / "secret").write_text("no")
    (tmp_path / "model" / "1" / "link").symlink_to(tmp_path / "secret")
    with pytest.raises(StoreError, match="not a regular file"):
        store.read_reference(str(tmp_path / "model" / "1" / "link"))


def test_published_is_remembered_and_removal_is_complete(store: ModelStore, tmp_path: Path) -> None:
    put(store, 1)
    assert not store.is_published(1)
    store.mark_published(1)
    assert store.is_published(1)
    store.remove(1)
    assert store.ids() == []
    assert not (tmp_path / "model" / "1").exists()


def test_a_model_that_is_too_large_is_refused_unread(tmp_path: Path) -> None:
    store = ModelStore(str(tmp_path / "model"), max_model_bytes=100)
    generation = put(store, 1, "<PMML>" + " " * 100)
    with pytest.raises(StoreError, match=r"model\.pmml has 106 bytes; a model of more than 100"):
        generation.model_text()
    with pytest.raises(StoreError, match="is not read"):
        store.read_reference(generation.reference)


def test_a_model_that_is_no_text_is_refused(store: ModelStore) -> None:
    folder = store.new(1)
    (folder / "model.pmml").write_bytes(b"\xff\xfe")
    generation = store.commit(folder, Manifest(1, "als", "model.pmml", {}, "topic", {}))
    with pytest.raises(StoreError, match="is not text in UTF-8"):
        generation.model_text()


def test_a13_fields_of_a_later_manifest_are_passed_over_and_kept(
    store: ModelStore, tmp_path: Path
) -> None:
    put(store, 1)
    path = tmp_path / "model" / "1" / MANIFEST
    later = {**json.loads(path.read_bytes()), "variants": ["main"]}
    path.write_text(json.dumps(later))
    read = store.get(1)
    assert read.manifest.unknown == {"variants": ["main"]}
    assert read.manifest.cut == {0: 10, 3: 7}
    assert json.loads(read.manifest.to_json()) == later


class TestPosition:
    def test_it_reads_back_and_stays_for_the_same_topic(self, store: ModelStore) -> None:
        generation = put(store, 1)
        assert generation.position is None
        first = Position("topic", {0: 12}, 3)
        store.note_position(1, first)
        store.note_position(1, Position("topic", {0: 99}, 3))
        assert generation.position == first
        again = Position("made again", {0: 0}, 3)
        store.note_position(1, again)
        assert generation.position == again
        assert store.get(1).manifest == generation.manifest

    @pytest.mark.parametrize("text", ["", "[]", "{}", '{"offsets": {}}', '{"offsets": 3}'])
    def test_one_that_cannot_be_read_is_none(
        self, store: ModelStore, tmp_path: Path, text: str
    ) -> None:
        generation = put(store, 1)
        (tmp_path / "model" / "1" / "position.json").write_text(text)
        assert generation.position is None
        store.note_position(1, Position("topic", {0: 1}, 1))
        assert generation.position == Position("topic", {0: 1}, 1)


def test_f1_a_store_that_is_away_says_nothing_of_a_generation(
    store: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    generation = put(store, 1)

    def away(path: Path) -> None:
        raise OSError(errno.EIO, "away")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "lstat", away)
        with pytest.raises(OSError, match="away"):
            generation.model_text()
    assert generation.model_text() == "<PMML/>"


def test_f1_a_remote_store_that_is_away_says_nothing_of_a_generation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pyarrow import fs

    remote = RemoteFiles(fs.LocalFileSystem(), str(tmp_path / "remote"))
    monkeypatch.setattr("common.store.generations.store_files", lambda _: remote)
    store = ModelStore("s3://models")
    generation = put(store, 1)
    store.note_position(1, Position("topic", {0: 4}, 1))
    assert generation.position == Position("topic", {0: 4}, 1)

    def away(name: str) -> None:
        raise OSError(errno.EIO, "AWS Error SLOW_DOWN: 503")

    with monkeypatch.context() as patched:
        patched.setattr(remote, "read", away)
        with pytest.raises(OSError, match="503"):
            generation.model_text()
    assert generation.model_text() == "<PMML/>"
    shutil.rmtree(tmp_path / "remote" / "1")
    with pytest.raises(StoreError, match="not in the model store"):
        store.get(1)
    store.close()


@pytest.mark.parametrize("name", ["a" * 5000, "a/" * 600 + "b", "a\nb", "a\0b"])
def test_a_reference_that_cannot_be_a_file_is_bad_and_not_a_store_that_is_away(
    store: ModelStore, tmp_path: Path, name: str
) -> None:
    put(store, 1)
    with pytest.raises(StoreError):
        store.read_reference(f"{tmp_path / 'model'}/{name}")
