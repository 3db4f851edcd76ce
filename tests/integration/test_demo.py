"""The demo as a user runs it: real broker, real layers, real ratings."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from common.base.paths import ROOT, home
from tests.waiting import wait_until

pytestmark = [pytest.mark.integration, pytest.mark.slow]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """A state folder of its own, with the installation's jars and downloads."""
    for name in ("jars", "cache"):
        (home() / name).mkdir(exist_ok=True)
        (tmp_path / name).symlink_to(home() / name)
    return {**os.environ, "GEMSBOK_HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}


def processes_of(folder: Path) -> list[str]:
    """Command lines of the processes that work in a folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(folder) in command:
            found.append(command)
    return found


def test_a_recommender_learns_from_real_ratings(
    environment: dict[str, str], tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "cli", "demo", "--events", "400", "--json"]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=280, check=False
    )
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert summary["events"]["past"] == 80_000
    assert summary["events"]["live"] == 400
    assert summary["events"]["acknowledged"] == 80_400
    assert summary["events"]["updates"] > 100
    for part in ("all", "first_fifth", "last_fifth", "newcomers"):
        rates = summary["hit_rate"][part]
        assert 0 <= rates["frozen"] <= 1
        assert 0 <= rates["updated"] <= 1
    assert summary["hit_rate"]["all"]["updated"] > 0.02
    assert summary["freshness"]["newcomers"] >= 5
    assert summary["freshness"]["not_visible"] == 0
    assert 0 < summary["freshness"]["p50_seconds"] <= summary["freshness"]["p95_seconds"]
    assert summary["first_recommendation_seconds"] > 0
    assert not summary["running"]
    demo = tmp_path / "demo"
    assert (demo / "freshness.png").read_bytes().startswith(b"\x89PNG")
    assert (demo / "model" / str(summary["generation"]) / "manifest.json").is_file()
    assert (demo / "logs" / "speed.log").stat().st_size
    wait_until(lambda: not processes_of(demo), "all processes ended")
    # Nothing was written beside the demo's folder, but for the batch layer's empty lock.
    beside = {path.name for path in tmp_path.iterdir()} - {"demo", "jars", "cache"}
    assert beside == {"locks"}


@pytest.mark.parametrize(
    ("app", "past", "score"), [("kmeans", 10_000, "distance"), ("forest", 78_146, "auc")]
)
def test_other_families_learn_from_a_stream(
    environment: dict[str, str], tmp_path: Path, app: str, past: int, score: str
) -> None:
    command = [sys.executable, "-m", "cli", "demo", "--app", app, "--events", "400", "--json"]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=280, check=False
    )
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert summary["events"] == {"past": past, "live": 400}
    assert summary["acknowledged"] == past + 400
    assert summary["updates"] > 0
    assert set(summary[score]) == {"as_trained", "updated"}
    assert all(value > 0 for value in summary[score].values())
    assert Path(summary["picture"]).read_bytes().startswith(b"\x89PNG")
    assert not summary["running"]
    wait_until(lambda: not processes_of(tmp_path / "demo"), "all processes ended")
