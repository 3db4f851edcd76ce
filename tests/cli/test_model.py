"""``gemsbok model``: the store as a user sees it, the export, and bringing a model back."""

from __future__ import annotations

import gzip
import http.server
import json
import sys
import threading
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from batch_layer.run.lock import AlreadyRunningError, only_one
from cli.__main__ import main
from common.broker.memory import MemoryBroker
from common.runtime.configuration import load, settings_type
from common.store.generations import PARTIAL, Generation, Manifest, ModelStore
from common.wire.messages import Message, Progress

Captured = pytest.CaptureFixture[str]
BROKER = "memory://test-model"
PMML = "<PMML>one</PMML>"


class Batch:
    """A family that follows its model with two updates."""

    def __init__(self, settings: Any) -> None:
        self.n = 2

    def updates(self, generation: Generation) -> list[str]:
        return [f"update {n} of {generation.model_text()}" for n in range(self.n)]


@pytest.fixture
def family(monkeypatch: pytest.MonkeyPatch) -> Iterator[types.ModuleType]:
    module = types.ModuleType("ownfamily.plain")
    module.Batch = Batch  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "ownfamily", types.ModuleType("ownfamily"))
    monkeypatch.setitem(sys.modules, "ownfamily.plain", module)
    settings_type.cache_clear()
    yield module
    settings_type.cache_clear()


@pytest.fixture
def broker() -> Iterator[MemoryBroker]:
    MemoryBroker.forget(BROKER)
    made = MemoryBroker.named(BROKER)
    made.create_topic("gemsbok.input", 2)
    made.create_topic("gemsbok.update", 1)
    yield made
    MemoryBroker.forget(BROKER)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModelStore:
    monkeypatch.setenv("GEMSBOK_HOME", str(tmp_path))
    monkeypatch.setenv("GEMSBOK_INPUT_TOPIC__BROKER", BROKER)
    return ModelStore(str(tmp_path / "model"))


def put(store: ModelStore, id_: int, broker: MemoryBroker | None = None) -> Generation:
    folder = store.new(id_)
    (folder / "model.pmml").write_text(PMML)
    (folder / "factors").mkdir()
    (folder / "factors" / "part").write_bytes(b"\x01")
    topic = broker.topic("gemsbok.input") if broker else None
    topic_id = topic.topic_id if topic else "no topic"
    metrics = {"auc": 0.75, "rmse": None}
    return store.commit(
        folder,
        Manifest(id_, "als", "model.pmml", {}, topic_id, {0: 3, 1: 0}, created=0, metrics=metrics),
    )


def read_updates(broker: MemoryBroker) -> list[Message]:
    records = broker.reader("gemsbok.update").poll(timeout=0.1)
    return [Message.from_record(one.key, one.value, one.headers) for one in records]


def test_list_names_the_generations(store: ModelStore, capsys: Captured) -> None:
    assert main(["model", "list"]) == 0
    assert "no generation" in capsys.readouterr().err
    put(store, 10)
    put(store, 20)
    store.mark_published(10)
    assert main(["model", "list"]) == 0
    rows = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert [row[0] for row in rows] == ["10", "20"]
    assert [row[3] for row in rows] == ["yes", "no"]
    assert rows[0][1] == "1970-01-01T00:00:00+00:00"
    assert rows[0][6] == "auc=0.75"
    assert main(["model", "list", "--json"]) == 0
    assert [row["generation"] for row in json.loads(capsys.readouterr().out)] == [10, 20]


def test_show_prints_the_manifest(store: ModelStore, capsys: Captured) -> None:
    put(store, 10)
    assert main(["model", "show", "10"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["cut"] == {"0": 3, "1": 0}
    assert set(shown["files"]) == {"model.pmml", "factors/part"}


def test_an_unknown_generation_names_those_that_there_are(
    store: ModelStore, capsys: Captured
) -> None:
    put(store, 10)
    for verb in (["show", "11"], ["rollback", "11"], ["export", "--generation", "11"]):
        assert main(["model", *verb]) == 1
        told = capsys.readouterr().err
        assert "generation 11 is not in the model store" in told
        assert "The newest are: 10." in told


def test_export_of_a_stored_generation(store: ModelStore, tmp_path: Path, capsys: Captured) -> None:
    put(store, 10)
    target = tmp_path / "out.pmml"
    assert main(["model", "export", "--generation", "10", "--output", str(target)]) == 0
    assert target.read_text() == PMML
    assert f"{len(PMML)} bytes, generation 10" in capsys.readouterr().out


def test_export_pretty_and_compressed(store: ModelStore, tmp_path: Path) -> None:
    put(store, 10)
    export = ["model", "export", "--generation", "10", "--output"]
    for name, flags in (("a.pmml", ["--gzip"]), ("b.pmml.gz", []), ("c.gz", ["--gzip"])):
        assert main([*export, str(tmp_path / name), *flags]) == 0
        assert gzip.decompress((tmp_path / name).read_bytes()).decode() == PMML
    assert main([*export, str(tmp_path / "d"), "--pretty"]) == 0
    assert (tmp_path / "d").read_text().endswith("?>\n<PMML>one</PMML>\n")


def test_show_of_the_candidates_ranks_them(store: ModelStore, capsys: Captured) -> None:
    folder = store.new(10)
    (folder / "model.pmml").write_text(PMML)
    (folder / "candidates.png").write_bytes(b"PNG")
    tried = [
        {"hyperparameters": {"k": k}, "seed": 1, "metrics": {"score": score}, "seconds": 0.5}
        for k, score in ((3, -2.0), (5, None), (4, 1.25))
    ]
    store.commit(
        folder, Manifest(10, "als", "model.pmml", {}, "topic", {0: 3}, candidates=tuple(tried))
    )
    assert main(["model", "show", "--candidates"]) == 0
    shown = capsys.readouterr()
    assert [line.split("\t") for line in shown.out.splitlines()] == [
        ["k", "seed", "score", "seconds"],
        ["4", "1", "1.25", "0.5"],
        ["3", "1", "-2", "0.5"],
        ["5", "1", "", "0.5"],
    ]
    assert "10/candidates.png" in shown.err


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers like a serving layer: with a model below /ready, and none elsewhere."""

    def do_GET(self) -> None:
        good = self.path == "/good/model.pmml"
        body = b"<PMML>live</PMML>" if good else b'{"error": {"message": "no model yet"}}'
        assert self.headers["Accept-Encoding"] == "gzip"
        body = gzip.compress(body)
        self.send_response(200 if good else 503)
        self.send_header("Content-Encoding", "gzip")
        self.send_header("X-Model-Generation", "77")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[int]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as made:
        thread = threading.Thread(target=made.serve_forever)
        thread.start()
        yield made.server_port
        made.shutdown()
        thread.join()


def test_export_of_the_model_as_it_is_served(server: int, tmp_path: Path, capsys: Captured) -> None:
    target = tmp_path / "out.pmml"
    flags = ["--set", f"serving.api.port={server}", "--set", "serving.api.context_path=/good"]
    assert main(["model", "export", "--output", str(target), *flags]) == 0
    assert target.read_text() == "<PMML>live</PMML>"
    assert "generation 77 as it is served" in capsys.readouterr().out


def test_export_without_a_model_or_a_server_leaves_no_file(
    server: int, tmp_path: Path, capsys: Captured
) -> None:
    target = tmp_path / "out.pmml"
    output = ["--output", str(target)]
    assert main(["model", "export", "--url", f"http://127.0.0.1:{server}", *output]) == 69
    assert "answers 503: no model yet" in capsys.readouterr().err
    assert main(["model", "export", "--url", "http://127.0.0.1:1", *output]) == 69
    assert "does not answer" in capsys.readouterr().err
    assert main(["model", "export", "--url", "file:///etc", *output]) == 1
    assert not target.exists()


def test_damaged_generations_are_told_and_hide_no_others(
    store: ModelStore, capsys: Captured
) -> None:
    put(store, 10)
    put(store, 20).path("model.pmml").with_name("manifest.json").write_text("{}")
    assert main(["model", "list", "--json"]) == 0
    shown = capsys.readouterr()
    assert [row["generation"] for row in json.loads(shown.out)] == [10]
    assert "20/manifest.json is not a manifest" in shown.err
    assert main(["model", "show"]) == 1
    assert "20/manifest.json is not a manifest" in capsys.readouterr().err
    put(store, 30).path("model.pmml").write_text("damaged")
    assert main(["model", "export", "--generation", "30"]) == 1
    assert "is damaged" in capsys.readouterr().err


def test_export_to_a_folder_that_is_not_there_says_so(
    store: ModelStore, tmp_path: Path, capsys: Captured
) -> None:
    put(store, 10)
    target = tmp_path / "absent" / "out.pmml"
    assert main(["model", "export", "--generation", "10", "--output", str(target)]) == 1
    assert f"{target} cannot be written: No such file" in capsys.readouterr().err


FLAGS = ["--set", "app=ownfamily.plain"]


@pytest.mark.usefixtures("family")
def test_rollback_publishes_the_old_files_under_a_new_id(
    store: ModelStore, broker: MemoryBroker, capsys: Captured
) -> None:
    old = put(store, 10, broker)
    put(store, 20, broker)
    assert main(["model", "rollback", "10", *FLAGS]) == 0
    new = store.newest()
    assert new is not None
    assert new.id > 20
    assert str(new.id) in capsys.readouterr().out
    assert (new.manifest.parent, new.manifest.cut) == (10, {0: 3, 1: 0})
    assert new.manifest.files == old.manifest.files
    assert store.is_published(new.id)
    sent = read_updates(broker)
    assert [message.key for message in sent] == ["MODEL", "UP", "UP", "PROGRESS"]
    assert sent[0].value == PMML
    assert sent[1].value == f"update 0 of {PMML}"
    assert Progress.from_value(sent[3].value).offsets == {0: 3, 1: 0}
    assert {m.stamp.generation for m in sent if m.stamp} == {new.id}


@pytest.mark.usefixtures("family")
def test_rollback_stays_above_a_generation_of_the_future(
    store: ModelStore, broker: MemoryBroker
) -> None:
    future = 10**15
    put(store, 10, broker)
    put(store, future, broker)
    assert main(["model", "rollback", "10", *FLAGS]) == 0
    assert store.ids() == [10, future, future + 1]


@pytest.mark.usefixtures("family")
def test_rollback_is_refused_where_events_after_the_cut_are_gone(
    store: ModelStore, broker: MemoryBroker, capsys: Captured
) -> None:
    put(store, 10, broker)
    producer = broker.producer()
    producer.send_all("gemsbok.input", [(f"key {n}", "x") for n in range(40)])
    broker.delete_records("gemsbok.input", {0: 5})
    assert main(["model", "rollback", "10", *FLAGS]) == 1
    assert "partition 0: 3 to 4" in capsys.readouterr().err
    assert store.ids() == [10]


@pytest.mark.usefixtures("family")
def test_rollback_is_refused_for_another_topic(
    store: ModelStore, broker: MemoryBroker, capsys: Captured
) -> None:
    put(store, 10, broker)
    broker.delete_topic("gemsbok.input")
    broker.create_topic("gemsbok.input", 2)
    assert main(["model", "rollback", "10", *FLAGS]) == 1
    assert "is of another topic" in capsys.readouterr().err
    assert read_updates(broker) == []


@pytest.mark.usefixtures("family", "broker")
def test_rollback_is_refused_while_a_generation_is_built(
    store: ModelStore, broker: MemoryBroker, tmp_path: Path, capsys: Captured
) -> None:
    put(store, 10, broker)
    storage = load(flags={"app": "ownfamily.plain"}).batch.storage
    store.new(30)
    with only_one(tmp_path, "ownfamily.plain", storage.data_dir):
        assert main(["model", "rollback", "10", *FLAGS]) == 1
        assert "builds a generation just now" in capsys.readouterr().err
        assert store.ids() == [10]
    # What a killed batch layer left behind holds nobody up.
    assert (tmp_path / "model" / PARTIAL / "30").is_dir()
    assert main(["model", "rollback", "10", *FLAGS]) == 0


def test_no_batch_run_begins_during_a_rollback(
    store: ModelStore, broker: MemoryBroker, tmp_path: Path, family: types.ModuleType
) -> None:
    put(store, 10, broker)
    data_dir = load(flags={"app": "ownfamily.plain"}).batch.storage.data_dir
    attempts: list[str] = []

    class Attempting(Batch):
        def updates(self, generation: Generation) -> list[str]:
            with (
                pytest.raises(AlreadyRunningError) as refusal,
                only_one(tmp_path, "ownfamily.plain", data_dir),
            ):
                pass
            attempts.append(str(refusal.value))
            return []

    family.Batch = Attempting  # type: ignore[attr-defined]
    assert main(["model", "rollback", "10", *FLAGS]) == 0
    assert len(attempts) == 1
    with only_one(tmp_path, "ownfamily.plain", data_dir):
        pass


@pytest.mark.usefixtures("family")
def test_rollback_of_a_damaged_generation_publishes_nothing(
    store: ModelStore, broker: MemoryBroker, tmp_path: Path, capsys: Captured
) -> None:
    put(store, 10, broker)
    (tmp_path / "model" / "10" / "factors" / "part").write_bytes(b"\x02")
    assert main(["model", "rollback", "10", *FLAGS]) == 1
    assert "is damaged" in capsys.readouterr().err
    assert store.ids() == [10]
    assert list((tmp_path / "model" / PARTIAL).iterdir()) == []
    assert read_updates(broker) == []
