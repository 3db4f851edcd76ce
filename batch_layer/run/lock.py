"""One batch layer per history: a lock that the kernel frees when its holder dies."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from common.base.hashing import sha256_hex

if TYPE_CHECKING:
    from py4j.java_gateway import JavaObject
    from pyspark.sql import SparkSession

JAVA_TIMEOUT_SECONDS = 60.0


class AlreadyRunningError(RuntimeError):
    """Another batch layer works on the same history."""


@contextmanager
def only_one(home: Path, app: str, data_dir: str) -> Iterator[Path]:
    """Hold the lock of an app's history for the length of the block; gives the lock's file.

    Parameters
    ----------
    home : Path
        State folder.
    app, data_dir : str
        Which history.

    Raises
    ------
    AlreadyRunningError
        At once, if another process holds it.
    """
    where = data_dir if "://" in data_dir else os.path.realpath(data_dir)
    digest = sha256_hex(where)[:16]
    path = home / "locks" / f"batch-{app}-{digest}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="ascii") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            message = (
                f"another batch layer (pid {file.read().strip() or 'unknown'}) works on the "
                f"history of {app!r} in {where}; it holds {path}"
            )
            raise AlreadyRunningError(message) from None
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield path


def hold_in_java(spark: SparkSession, path: Path) -> JavaObject:
    """Let Spark's Java process hold a lock too, until it ends.

    A Java process may outlive a killed Python by moments and finish a commit in them; its
    successor waits here until it is gone, before it asks the history where it ends.

    Returns
    -------
    JavaObject
        The open file; the lock lasts as long as it is referred to.

    Raises
    ------
    AlreadyRunningError
        If the other Java process does not end.
    """
    jvm = spark.sparkContext._jvm
    assert jvm is not None
    file = jvm.java.io.RandomAccessFile(f"{path}.java", "rw")
    deadline = time.monotonic() + JAVA_TIMEOUT_SECONDS
    while file.getChannel().tryLock() is None:
        if time.monotonic() > deadline:
            message = f"the Java process of an earlier batch layer still runs; it holds {path}.java"
            raise AlreadyRunningError(message)
        time.sleep(0.1)
    return file
