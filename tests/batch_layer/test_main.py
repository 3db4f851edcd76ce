"""The batch layer's process: its exit codes, and that a kill at any point is repaired."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from common.wire.messages import MODEL, Message
from tests.waiting import wait_until

if TYPE_CHECKING:
    from tests.batch_layer.conftest import Place

pytestmark = pytest.mark.integration

FAILPOINTS = [
    "history.before_commit",
    "history.after_commit",
    "training",
    "generation.before_commit",
    "generation.after_commit",
    "publish.after_model",
]
#: Killed between the two halves of: a commit of the history, a generation, its publication.
TELLING = ["history.after_commit", "generation.before_commit", "generation.after_commit"]


@contextmanager
def started(place: Place, *arguments: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """Start the layer in a session of its own, so that a failpoint kills nothing else."""
    command = [sys.executable, "-m", "batch_layer", *arguments]
    for key, value in place.flags.items():
        command += ["--set", f"{key}={value}"]
    with subprocess.Popen(
        command,
        env={**os.environ, **environment},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.parametrize("failpoint", FAILPOINTS if os.environ.get("ALL_FAILPOINTS") else TELLING)
def test_a_kill_at_any_point_is_repaired_by_the_next_run(place: Place, failpoint: str) -> None:
    place.send("a b", "a c", "  ")
    with started(place, "--once", GEMSBOK_FAILPOINT=failpoint) as killed:
        assert "batch layer started" in killed.communicate(timeout=200)[1]
    assert killed.returncode == -signal.SIGKILL

    place.layer().run_once()
    rows = place.rows()
    assert sorted(row["value"] for row in rows) == ["a b", "a c"]
    assert len({(row["partition"], row["offset"]) for row in rows}) == 2
    coordinates = {
        (headers["partition"], headers["offset"])
        for headers in (dict(letter.headers) for letter in place.dead_letters())
    }
    assert len(coordinates) == 1
    models = [Message.from_record(r.key, r.value, r.headers) for r in place.updates()]
    assert {model.key for model in models} == {MODEL}
    assert [json.loads(model.value) for model in models] == [{"a": 2, "b": 1, "c": 1}] * len(models)
    (generation,) = place.store.ids()
    assert {model.stamp.generation for model in models if model.stamp} == {generation}
    assert place.store.is_published(generation)
    assert list(Path(place.settings.batch.storage.model_dir).glob(".partial/*")) == []


@pytest.mark.slow
def test_sigterm_ends_it_with_code_0_and_it_goes_on_from_there(place: Place) -> None:
    place.send("a b")
    with started(place) as running:
        wait_until(lambda: running.poll() is not None or bool(place.updates()))
        running.terminate()
        stopped = time.monotonic()
        log = running.communicate(timeout=60)[1]
    assert time.monotonic() - stopped < 30
    assert running.returncode == 0
    assert "stopped by SIGTERM" in log
    assert place.layer().run_once() is None
    assert len(place.rows()) == 1


def test_a_wrong_configuration_ends_it_with_code_2(place: Place) -> None:
    place.flags["batch.intervall_seconds"] = "5"
    with started(place, "--once") as wrong:
        assert "interval_seconds" in wrong.communicate(timeout=60)[1]
    assert wrong.returncode == 2
