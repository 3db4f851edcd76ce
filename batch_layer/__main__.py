"""Runs the batch layer: ``python -m batch_layer --conf FILE``, or by spark-submit.

Exit codes: 0 done (``--once``) or stopped by a signal; 1 failed, the last log line says why;
2 the command line or the configuration is wrong; 69 a topic or a jar is missing; 75 another
batch layer holds the lock of the history.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

# spark-submit runs this file by its path: put the folder of the packages on the path, in place
# of this package's own folder.
if __name__ == "__main__" and not __package__:
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from batch_layer.run.lock import AlreadyRunningError, hold_in_java, only_one
from common.base.paths import home, jars_dir
from common.broker import BrokerError, open_broker
from common.broker.topics import InputLostError, UnusableTopicError
from common.config import ConfigError, Settings
from common.runtime import process
from common.runtime.families import family_module, input_lines
from common.runtime.spark import SparkSetupError, spark_properties
from common.runtime.termination import Terminated, raise_on_sigterm
from common.store.generations import ModelStore, StoreError
from common.telemetry.logs import log_to_stderr

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

log = logging.getLogger("batch_layer")

#: Longest time in seconds from SIGTERM to the end of the process.
TERMINATION_SECONDS = 25.0


CODES = {
    AlreadyRunningError: process.EXIT_LOCKED,
    ConfigError: process.EXIT_USAGE,
    UnusableTopicError: process.EXIT_UNAVAILABLE,
    SparkSetupError: process.EXIT_UNAVAILABLE,
    InputLostError: process.EXIT_FAILED,
    BrokerError: process.EXIT_FAILED,
    StoreError: process.EXIT_FAILED,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the batch layer; return the process's exit code."""
    process.keep_files_private()
    log_to_stderr()
    options = _parser().parse_args(arguments)
    try:
        raise_on_sigterm(TERMINATION_SECONDS)
        return process.exit_code(lambda: locked(options), CODES)
    except (Terminated, KeyboardInterrupt) as error:
        log.info("batch layer stopped by %s", "SIGTERM" if type(error) is Terminated else "SIGINT")
        return 0


def locked(options: argparse.Namespace) -> int:
    """Run the layer while holding the history's lock; see :func:`run`."""
    settings = process.settings_of(options)
    # Taken before Spark is imported, so that a second batch layer ends at once.
    with only_one(home(), settings.app, settings.batch.storage.data_dir) as lock:
        run(settings, options, lock)
    return 0


def run(settings: Settings, options: argparse.Namespace, lock: Path) -> None:
    """Build one generation (``--once``), or one every interval.

    Raises
    ------
    ConfigError, UnusableTopicError, SparkSetupError
        If the layer cannot start; the text says how to repair it.
    InputLostError, BrokerError, StoreError
        If the layer cannot continue.
    """
    input_lines(settings)
    family_module(settings.app, "batch_layer", ("Batch",))
    # 90 MB and half a second, Spark among it: not to be told of a mistake, nor before the lock.
    from batch_layer.run.layer import BatchLayer, Resources

    with ExitStack() as stack:
        input_broker = stack.enter_context(open_broker(settings))
        update_broker = stack.enter_context(open_broker(settings, settings.update_broker))
        spark = session(settings)
        stack.callback(spark.stop)
        stack.callback(hold_in_java(spark, lock).close)
        store = ModelStore.of(settings.batch.storage)
        resources = Resources(spark, input_broker, update_broker, store)
        layer = BatchLayer(settings, resources, options.accept_loss)
        log.info("batch layer started, app %s", settings.app)
        if options.once:
            layer.run_once()
        else:
            layer.run_forever()


def session(settings: Settings) -> SparkSession:
    """Return a Spark session: a new one, or the one that spark-submit has started.

    Raises
    ------
    SparkSetupError
        If the jars are missing, or were not given to spark-submit.
    """
    # Spark's, which is imported after the lock.
    from py4j.java_gateway import JavaClass
    from pyspark.sql import SparkSession

    name = f"gemsbok-batch-{settings.id or settings.app}"
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    builder = SparkSession.builder
    for key, value in spark_properties(settings.batch.spark, name, home()).items():
        builder = builder.config(key, value)
    spark = builder.getOrCreate()
    jvm = spark.sparkContext._jvm
    # py4j represents an unknown class as a package.
    if jvm is None or not isinstance(jvm.io.delta.tables.DeltaTable, JavaClass):
        message = (
            f"Spark was started without Delta Lake: give spark-submit `--jars` with the jars in "
            f"{jars_dir('spark')}, or start the layer by `bin/gemsbok batch`"
        )
        raise SparkSetupError(message)
    return spark


def _parser() -> argparse.ArgumentParser:
    parser = process.parser("batch", "The batch layer.")
    parser.add_argument("--once", action="store_true", help="make one generation and end")
    parser.add_argument(
        "--accept-loss",
        action="store_true",
        help="go on although the input topic no longer holds events that the history lacks",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
