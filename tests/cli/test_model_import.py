"""``gemsbok model import``: a document becomes a model, or the reason is told."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.__main__ import main
from common.broker.memory import MemoryBroker
from common.store.generations import ModelStore
from common.wire.messages import Message

Captured = pytest.CaptureFixture[str]
BROKER = "memory://test-import"
DOCUMENTS = Path(__file__).parent.parent / "serving_layer" / "apps" / "pmml" / "documents"
DOCUMENT = DOCUMENTS / "forest.pmml"
FLAGS = ["--set", "app=pmml", "--set", "pmml.heap=256m"]


@pytest.fixture
def broker() -> Iterator[MemoryBroker]:
    MemoryBroker.forget(BROKER)
    made = MemoryBroker.named(BROKER)
    made.create_topic("gemsbok.update", 1)
    yield made
    MemoryBroker.forget(BROKER)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModelStore:
    monkeypatch.setenv("GEMSBOK_HOME", str(tmp_path))
    monkeypatch.setenv("GEMSBOK_INPUT_TOPIC__BROKER", BROKER)
    return ModelStore(str(tmp_path / "model"))


@pytest.mark.jvm
def test_a_document_is_stored_and_published(
    store: ModelStore, broker: MemoryBroker, capsys: Captured
) -> None:
    assert main(["model", "import", str(DOCUMENT), *FLAGS]) == 0
    assert main(["model", "import", str(DOCUMENT), *FLAGS]) == 0
    first, second = (store.get(id_) for id_ in store.ids())
    assert second.model_text() == DOCUMENT.read_text()
    assert second.manifest.engine == "Nyoka"
    assert f"generation {second.id}" in capsys.readouterr().out
    records = broker.reader("gemsbok.update").poll(timeout=0.1)
    sent = [Message.from_record(one.key, one.value, one.headers) for one in records]
    assert [message.key for message in sent] == ["MODEL", "MODEL"]
    assert [message.stamp.generation for message in sent if message.stamp] == [first.id, second.id]
    assert main(["model", "rollback", str(first.id), *FLAGS]) == 0
    assert store.ids()[-1] > second.id
    assert store.is_published(store.ids()[-1])


@pytest.mark.parametrize(
    ("content", "flags", "told"),
    [
        (b"<!DOCTYPE PMML>", [], "document type declaration"),
        (b"\xff\xfe", [], "cannot be read"),
        (None, [], "cannot be read"),
        (b" " * 3000, ["--set", "pmml.max_size=2000"], "has 3000 bytes, and pmml.max_size is 2000"),
        (b"<PMML/>", ["--set", "app=als"], "builds its models itself"),
    ],
)
def test_what_is_refused_leaves_nothing(
    store: ModelStore,
    tmp_path: Path,
    capsys: Captured,
    content: bytes | None,
    flags: list[str],
    told: str,
) -> None:
    path = tmp_path / "document.pmml"
    if content is not None:
        path.write_bytes(content)
    assert main(["model", "import", str(path), *FLAGS, *flags]) == 1
    assert told in capsys.readouterr().err
    assert store.ids() == []


def test_a_document_of_a_gibibyte_is_refused_unread(
    store: ModelStore, tmp_path: Path, capsys: Captured
) -> None:
    path = tmp_path / "huge.pmml"
    with path.open("wb") as file:
        file.truncate(1 << 30)
    assert main(["model", "import", str(path), *FLAGS]) == 1
    assert "1073741824 bytes" in capsys.readouterr().err


@pytest.mark.jvm
def test_without_a_broker_it_is_stored_all_the_same(
    store: ModelStore, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    monkeypatch.setenv("GEMSBOK_INPUT_TOPIC__BROKER", "127.0.0.1:1")
    monkeypatch.setenv("GEMSBOK_BROKER__CONNECT_TIMEOUT_SECONDS", "0.1")
    assert main(["model", "import", str(DOCUMENT), *FLAGS]) == 69
    assert "Stored as generation" in capsys.readouterr().err
    assert len(store.ids()) == 1
