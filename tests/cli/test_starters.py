"""The starters in ``bin``: what a user sees where Java or Python does not fit."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from stack.paths import ROOT

TOOLS = ("bash", "env", "dirname", "readlink", "cmp", "mkdir", "cat", "grep", "python3")


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A clone in which nothing has been installed."""
    root = tmp_path / "clone"
    shutil.copytree(ROOT / "bin", root / "bin")
    for name in ("requirements.lock", "jars.lock"):
        shutil.copy(ROOT / name, root / name)
    return root


@pytest.fixture
def only_tools(tmp_path: Path) -> Path:
    """A folder for PATH that has the usual tools, and no Java."""
    folder = tmp_path / "tools"
    folder.mkdir()
    for name in TOOLS:
        found = shutil.which(name)
        assert found, f"{name} is not on PATH"
        (folder / name).symlink_to(found)
    return folder


def script(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def call(starter: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    hidden = ("JAVA_HOME", "GEMSBOK_HOME", "GEMSBOK_PYTHON")
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    return subprocess.run(
        [starter, *arguments],
        env=environment | variables,
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def fake_java(folder: Path, version: str, modules: str = "") -> str:
    text = f'[ "$1" = -version ] && echo \'openjdk version "{version}"\' >&2 || echo "{modules}"'
    return str(script(folder / "bin" / "java", text).parent.parent)


@pytest.mark.parametrize("starter", ["gemsbok", "test"])
def test_no_java(clone: Path, only_tools: Path, starter: str) -> None:
    done = call(clone / "bin" / starter, PATH=str(only_tools))
    assert done.returncode == 69
    assert "There is no java on PATH" in done.stderr
    assert "apt-get install openjdk-17-jre-headless" in done.stderr
    assert not (clone / ".venv").exists()


@pytest.mark.parametrize(
    ("version", "told"),
    [
        ("1.8.0_402", "is Java 8, which is too old"),
        ("11.0.2", "is Java 11, which is too old"),
        ("21.0.2", "(Java 21) lacks the module jdk.incubator.vector"),
    ],
)
def test_java_that_does_not_fit(clone: Path, tmp_path: Path, version: str, told: str) -> None:
    done = call(clone / "bin/gemsbok", "up", JAVA_HOME=fake_java(tmp_path / "jdk", version))
    assert done.returncode == 69
    assert told in done.stderr
    assert not (clone / ".venv").exists()


def test_java_home_without_java(clone: Path, tmp_path: Path) -> None:
    done = call(clone / "bin/gemsbok", "up", JAVA_HOME=str(tmp_path))
    assert done.returncode == 69
    assert f"JAVA_HOME is {tmp_path}, which has no bin/java" in done.stderr


def test_python_that_is_too_old(clone: Path, tmp_path: Path) -> None:
    java_home = fake_java(tmp_path / "jdk", "17.0.1", "jdk.incubator.vector@17.0.1")
    old = script(tmp_path / "old-python", "echo 8")
    done = call(clone / "bin/gemsbok", "up", JAVA_HOME=java_home, GEMSBOK_PYTHON=str(old))
    assert done.returncode == 69
    assert f"{old} is 3.8" in done.stderr
    assert "GEMSBOK_PYTHON=" in done.stderr
    assert not (clone / ".venv").exists()


@pytest.mark.jvm
def test_works_through_a_link_and_from_anywhere(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(ROOT / "bin" / "gemsbok")
    done = call(link, "--help", GEMSBOK_HOME=os.environ.get("GEMSBOK_HOME", str(ROOT / ".gemsbok")))
    assert done.returncode == 0, done.stderr
    assert "kafka" in done.stdout
