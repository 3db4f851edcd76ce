"""The demo's folder and processes: apart from the user's, and all of them ended."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import pytest

from common.runtime.configuration import load
from demo.layers import BATCH, SERVING, Layers
from demo.workspace import Workspace
from stack import ports
from stack.errors import UserError
from stack.launch import Launch
from stack.local_kafka import LocalKafka

SLEEPER = "import time; print('last words', flush=True); time.sleep({})"


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    found = Workspace(tmp_path / "demo")
    found.folder.mkdir()
    return found


def test_the_layers_get_folders_and_topics_of_the_demo(workspace: Workspace) -> None:
    workspace.write_conf("als", "127.0.0.1:21234", 28080)
    settings = load(workspace.conf, environment={})
    assert settings.input_topic.broker == "127.0.0.1:21234"
    assert settings.serving.api.port == 28080
    assert {settings.input_topic.name, settings.update_topic.name} == {"demo.input", "demo.update"}
    storage = settings.batch.storage
    assert Path(storage.data_dir).parent == Path(storage.model_dir).parent == workspace.folder
    assert workspace.models == Path(storage.model_dir)


def test_the_users_own_configuration_does_not_reach_the_layers(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GEMSBOK_INPUT_TOPIC__BROKER", "production:9092")
    monkeypatch.setenv("GEMSBOK_CONF", "production.toml")
    monkeypatch.setenv("GEMSBOK_HOME", "/somewhere")
    found = workspace.environment()
    assert [name for name in found if name.startswith("GEMSBOK_")] == ["GEMSBOK_HOME"]
    assert found["PATH"]


def test_what_an_earlier_demo_left_is_removed(workspace: Workspace) -> None:
    with workspace.claimed():
        (workspace.folder / "data").mkdir()
        (workspace.folder / "data" / "rows").touch()
        workspace.conf.touch()
        workspace.clear()
        assert [path.name for path in workspace.folder.iterdir()] == ["lock"]


def test_two_demos_do_not_share_a_folder(workspace: Workspace) -> None:
    with workspace.claimed(), pytest.raises(UserError, match="Another demo"), workspace.claimed():
        pass
    with workspace.claimed():
        pass


class FakeBroker(LocalKafka):
    """A broker of which only is known whether it runs."""

    runs = True

    def is_running(self) -> bool:
        return self.runs


@pytest.fixture
def layers(workspace: Workspace) -> Layers:
    """Layers that only sleep: batch for an instant, the others for long; a broker likewise."""

    def launch(name: str, arguments: object) -> Launch:
        return Launch([sys.executable, "-c", SLEEPER.format(0 if name == BATCH else 600)], {})

    return Layers(workspace, launch, FakeBroker(workspace.folder))


def test_a_layer_that_dies_tells_its_last_words_and_its_log(
    layers: Layers, workspace: Workspace
) -> None:
    layers.start(SERVING)
    layers.start(BATCH)
    with pytest.raises(UserError, match="The batch layer ended") as failed:
        layers.wait_for(lambda: False, "Training", timeout_seconds=30)
    assert str(workspace.folder / "logs" / "batch.log") in failed.value.remedy
    layers.release(BATCH)
    layers.check()
    assert layers.stop()
    assert not layers.is_running(SERVING)
    assert not layers.stop()


def test_what_a_layer_logs_last(layers: Layers, workspace: Workspace) -> None:
    assert layers.last_message(BATCH) == ""
    log = workspace.folder / "logs" / "batch.log"
    log.parent.mkdir()
    log.write_text(
        "2026 INFO batch_layer: one\n2026 INFO batch_layer.run.layer: two: 2\nWARN three\n"
    )
    assert layers.last_message(BATCH) == "two: 2"


def test_waiting_has_an_end(layers: Layers) -> None:
    with pytest.raises(UserError, match="Loading took more than 0 s"):
        layers.wait_for(lambda: False, "Loading", timeout_seconds=0.01)


def test_a_broker_that_dies_is_noticed(workspace: Workspace) -> None:
    broker = FakeBroker(workspace.folder)
    layers = Layers(workspace, broker=broker)
    layers.check()
    broker.runs = False
    with pytest.raises(UserError, match="broker ended") as failed:
        layers.check()
    assert "kafka.log" in failed.value.remedy


def test_ports_in_use_are_left_alone() -> None:
    port = ports.free_port()
    assert ports.preferred(port) == port
    with socket.create_server((ports.LOOPBACK, port)):
        assert ports.preferred(port) != port
