"""The lock that permits one batch layer per history; the kernel frees it when its holder dies."""

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
    """Hold the lock of an app's history during the block; yields the path of the lock's file.

    Parameters
    ----------
    home : Path
        State folder.
    app, data_dir : str
        The app, and the folder or URI of its history.

    Raises
    ------
    AlreadyRunningError
        If another process holds the lock; raised at once.
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
    """Hold a second lock in Spark's Java process until that process ends.

    After Python is killed, the Java process may live on briefly and finish a commit.  The next
    batch layer waits here for its end, and only then reads the end of the history.

    Returns
    -------
    JavaObject
        The open file; the lock is held as long as it is referenced.

    Raises
    ------
    AlreadyRunningError
        If the earlier Java process does not end in time.
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
