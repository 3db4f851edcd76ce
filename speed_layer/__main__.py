"""``python -m speed_layer --conf FILE``, or by spark-submit: runs until it is told to stop.

Exit codes: 0 stopped by SIGTERM or SIGINT; 1 failed, the last log line says why; 2 the
command line or the configuration is wrong; 69 a topic, or something of Spark, is missing or
unusable; 75 another speed layer has taken over: this one is not to be started again.
"""

from __future__ import annotations

import functools
import logging
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

# spark-submit runs this file by its path: the packages beside it are to be found, not the
# modules in it.
if __name__ == "__main__" and not __package__:
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from common.base.paths import home
from common.broker import open_broker
from common.broker.topics import UnusableTopicError, check_topics
from common.config import ConfigError, Settings
from common.runtime import process
from common.runtime.families import family_class, family_module, input_lines
from common.runtime.spark import SparkSetupError, spark_properties
from common.telemetry.logs import log_to_stderr
from speed_layer.api import SpeedModel
from speed_layer.run.follower import SupersededError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

log = logging.getLogger("speed_layer")


CODES = {
    ConfigError: process.EXIT_USAGE,
    UnusableTopicError: process.EXIT_UNAVAILABLE,
    SparkSetupError: process.EXIT_UNAVAILABLE,
    SupersededError: process.EXIT_LOCKED,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the speed layer; returns the process's exit code."""
    process.keep_files_private()
    log_to_stderr()
    given = process.parser("speed", "The speed layer.").parse_args(arguments)
    return process.exit_code(lambda: run(process.settings_of(given)), CODES)


def run(settings: Settings) -> int:
    """Run until told to stop.

    Raises
    ------
    ConfigError, UnusableTopicError, SparkSetupError, SupersededError
        If it cannot start or go on; the text says what to do.
    """
    lines = input_lines(settings)
    module = family_module(settings.app, "speed_layer", ("Speed",))
    new_model = functools.partial(family_class(module, "Speed", SpeedModel), settings)
    check_topics(settings, with_dead_letters=True)
    # 45 MB and 0.2 s, Spark among it, that nobody waits for to be told of a mistake.
    from speed_layer.run.layer import Family, SpeedLayer
    from speed_layer.run.stream import spark_stream

    layer = SpeedLayer(
        settings,
        functools.partial(spark_stream, settings, session(settings)),
        Family(new_model, lines.read),
        functools.partial(open_broker, settings, settings.update_broker),
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: layer.stop())
    log.info("speed layer started, app %s", settings.app)
    layer.run()
    log.info("speed layer stopped: %s", layer.totals)
    return 0


def session(settings: Settings) -> SparkSession:
    """Start Spark, or take the session that spark-submit has set up."""
    # Loaded with the layer.
    from pyspark.sql import SparkSession

    name = f"gemsbok-speed-{settings.id or settings.app}"
    properties = spark_properties(settings.speed.spark, name, home())
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    builder = SparkSession.builder
    for key, value in properties.items():
        builder = builder.config(key, value)
    return builder.getOrCreate()


if __name__ == "__main__":
    sys.exit(main())
