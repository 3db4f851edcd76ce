"""Models of the update topic, verified."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.base.hashing import sha256_hex
from common.replica.updates import resolve
from common.store.generations import Generation, Manifest, ModelStore, StoreError
from common.wire.messages import MODEL, MODEL_REF, Message, MessageError, Stamp


def stored(tmp_path: Path, generation: int = 1, text: str = "<PMML/>") -> Generation:
    store = ModelStore(str(tmp_path / "model"))
    folder = store.new(generation)
    (folder / "model.pmml").write_text(text)
    manifest = Manifest(generation, "als", "model.pmml", {}, "t", {0: 4}, created=1000)
    return store.commit(folder, manifest)


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
