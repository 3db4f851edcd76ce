"""Jars: what is pinned, and what happens when a file is not what was pinned."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from stack import jars, paths
from stack.errors import UserError


@pytest.fixture
def lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A lock file that pins one small jar, and a state folder of the test's own."""
    path = tmp_path / "jars.lock"
    path.write_text(f"# Comment.\nkafka {hashlib.sha256(b'jar').hexdigest()} some-1.0.jar\n")
    monkeypatch.setenv("GEMSBOK_HOME", str(tmp_path / "home"))
    return path


def test_committed_lock_pins_all_sets_at_the_declared_versions() -> None:
    declared = jars.JAR_SETS | jars.TEST_JAR_SETS
    pinned = jars.read_lock()
    assert set(pinned) == set(declared)
    for jar_set, coordinates in declared.items():
        for line in coordinates:
            _, name, version = line.split(":")
            assert f"{name}-{version}.jar" in pinned[jar_set]
    digests = [digest for files in pinned.values() for digest in files.values()]
    assert digests
    assert all(re.fullmatch("[0-9a-f]{64}", digest) for digest in digests)


def test_spark_set_leaves_out_what_pyspark_ships() -> None:
    shipped = set(jars.module_names(path.name for path in jars.pyspark_jars().glob("*.jar")))
    ours = set(jars.module_names(jars.read_lock()["spark"]))
    assert ours
    assert not ours & shipped


@pytest.mark.parametrize(
    ("file_name", "module"),
    [
        ("spark-sql-kafka-0-10_2.13-4.2.0.jar", "spark-sql-kafka"),
        (
            "netty-transport-native-epoll-4.2.1.Final-linux-x86_64.jar",
            "netty-transport-native-epoll",
        ),
        ("scala-library-2.13.18.jar", "scala-library"),
        ("json.jar", "json"),
    ],
)
def test_module_names(file_name: str, module: str) -> None:
    assert jars.module_names([file_name]) == [module]


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({"some-1.0.jar": b"jar"}, []),
        ({}, ["some-1.0.jar is missing"]),
        ({"some-1.0.jar": b"jar", "more-1.jar": b""}, ["more-1.jar is not in jars.lock"]),
    ],
)
def test_verify(tmp_path: Path, lock: Path, files: dict[str, bytes], told: list[str]) -> None:
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    assert jars.verify("kafka", tmp_path, lock) == told


def test_changed_jar_is_refused_and_nothing_is_installed(lock: Path) -> None:
    with pytest.raises(
        UserError, match=r"(?s)some-1\.0\.jar has SHA-256 .* call `bin/gemsbok` again"
    ):
        jars.install("kafka", lock, resolve_to(b"another"))
    assert not paths.jars_dir("kafka").exists()
    with pytest.raises(UserError, match="not installed"):
        jars.jar_files("kafka", lock)


def test_install_is_complete_until_the_lock_changes(lock: Path) -> None:
    assert not jars.is_complete("kafka", lock)
    jars.install("kafka", lock, resolve_to(b"jar"))
    assert [path.name for path in jars.jar_files("kafka", lock)] == ["some-1.0.jar"]
    lock.write_text(lock.read_text() + "# Changed.\n")
    assert not jars.is_complete("kafka", lock)
    jars.install("kafka", lock, resolve_to(b"jar"))
    assert jars.is_complete("kafka", lock)
    # Nothing is left of the place where they were resolved.
    assert list(paths.cache_dir().iterdir()) == []


def resolve_to(content: bytes) -> Callable[[str, Path], Path]:
    def resolve(_jar_set: str, work: Path) -> Path:
        folder = work / "jars"
        folder.mkdir()
        (folder / "some-1.0.jar").write_bytes(content)
        return folder

    return resolve


@pytest.mark.jvm
def test_unreachable_repository_says_what_and_how_to_retry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GEMSBOK_HOME", str(tmp_path))
    monkeypatch.setenv("GEMSBOK_MAVEN_MIRROR", (tmp_path / "no-such-mirror").as_uri())
    with pytest.raises(UserError, match=r"(?s)kafka_2\.13.*call `bin/gemsbok` again"):
        jars.install("kafka")
    assert not paths.jars_dir("kafka").exists()


def test_settings_name_one_resolver() -> None:
    assert jars.settings_xml("").count("<ibiblio") == 1
    assert 'root="file:///m/"' in jars.settings_xml("file:///m")
