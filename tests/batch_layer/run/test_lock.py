"""One batch layer per history."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from batch_layer.run.lock import AlreadyRunningError, hold_in_java, only_one

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def test_the_second_is_refused_until_the_first_has_ended(tmp_path: Path) -> None:
    with only_one(tmp_path, "als", "data") as path:
        assert path.read_text() == f"{os.getpid()}\n"
        message = f"pid {os.getpid()}.*'als'.*{path.name}"
        with pytest.raises(AlreadyRunningError, match=message), only_one(tmp_path, "als", "./data"):
            pass
    with only_one(tmp_path, "als", "data"):
        pass


def test_other_apps_and_other_folders_do_not_matter(tmp_path: Path) -> None:
    with (
        only_one(tmp_path, "als", "data"),
        only_one(tmp_path, "kmeans", "data"),
        only_one(tmp_path, "als", "other"),
        only_one(tmp_path, "als", "s3://bucket/data"),
    ):
        assert len(list((tmp_path / "locks").iterdir())) == 4


def test_a_second_batch_layer_leaves_with_code_75_before_it_loads_spark(tmp_path: Path) -> None:
    data = tmp_path / "data"
    command = [sys.executable, "-X", "importtime", "-m", "batch_layer", "--once"]
    command += ["--set", "app=wordcount", "--set", f"batch.storage.data_dir={data}"]
    with only_one(tmp_path, "wordcount", str(data)):
        done = subprocess.run(
            command,
            env={**os.environ, "GEMSBOK_HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 75
    assert "another batch layer" in done.stderr
    assert "argparse" in done.stderr
    assert "pyspark" not in done.stderr


@pytest.mark.integration
def test_java_waits_for_a_java_process_that_outlived_its_python(
    spark: SparkSession, tmp_path: Path
) -> None:
    path = tmp_path / "batch.lock"
    hold = (
        "import fcntl, sys, time; file = open(sys.argv[1], 'w'); "
        "fcntl.lockf(file, fcntl.LOCK_EX); print('held', flush=True); time.sleep(1.0)"
    )
    command = [sys.executable, "-c", hold, f"{path}.java"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        file = hold_in_java(spark, path)
        assert holder.wait(60) == 0
    file.close()
