"""How the layers start Spark and read Kafka through it; needs no Spark itself."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from common.base.paths import ROOT

if TYPE_CHECKING:
    from common.config import BrokerClient, Settings, Spark

LOOPBACK = "127.0.0.1"
_LOGGING = Path(__file__).with_name("log4j2.properties")
_JAVA_OPTIONS = "spark.driver.extraJavaOptions"
#: MLlib's rounds nest deeply when they are sent to an executor: the default stack of 1 MiB
#: overflows, and in local mode that ends the whole process.
_STACK = "-Xss8m"
#: Masters whose every process is on this machine, where nothing need be reachable from outside.
_ON_THIS_MACHINE = re.compile(r"local(\[.*\]|-cluster\[.*\])?|spark://(127\.0\.0\.1|localhost):\d+")


class SparkSetupError(RuntimeError):
    """Spark cannot be started as things are; the text says what to do."""


def spark_properties(spark: Spark, app_name: str, home: Path) -> dict[str, str]:
    """Return the properties of a layer's Spark session.

    Parameters
    ----------
    spark : Spark
        The layer's table of the configuration; its ``config`` wins over everything here.
    app_name : str
        As Spark's logs and cluster managers show it.
    home : Path
        State folder; its ``jars/spark`` holds the Kafka connector and Delta Lake.

    Raises
    ------
    SparkSetupError
        If the jars are not there.
    """
    found = {
        "spark.app.name": app_name,
        "spark.master": spark.master,
        "spark.driver.memory": spark.driver_memory,
        "spark.executor.memory": spark.executor_memory,
        "spark.executor.cores": str(spark.executor_cores),
        "spark.executor.instances": str(spark.num_executors),
        "spark.sql.shuffle.partitions": str(spark.shuffle_partitions),
        "spark.jars": ",".join(_jars(home)),
        "spark.sql.warehouse.dir": str(home / "spark-warehouse"),
        _JAVA_OPTIONS: _java_options(spark, home),
        "spark.executor.extraJavaOptions": _STACK,
        **_PROPERTIES,
        **_python(),
    }
    if _ON_THIS_MACHINE.fullmatch(spark.master):
        found |= {"spark.driver.host": LOOPBACK, "spark.driver.bindAddress": LOOPBACK}
    given = {name: value for name, value in spark.config.items() if name != _JAVA_OPTIONS}
    return found | given


def class_archive(home: Path) -> Path:
    """Return where Java keeps Spark's classes ready, which saves seconds at each start.

    ``python -m batch_layer.run.class_archive`` makes it; a Java for which it was not made passes
    it over.
    """
    return home / "cache" / "spark.jsa"


def kafka_options(settings: Settings) -> dict[str, str]:
    """Return the options of Spark's Kafka source for the input topic, security included."""
    return {
        "kafka.bootstrap.servers": settings.input_topic.broker,
        "subscribe": settings.input_topic.name,
        # Records that are gone are an error that a person decides about.
        "failOnDataLoss": "true",
        # Kafka's default of 500 costs a fifth of the reading time.
        "kafka.max.poll.records": "10000",
        **{f"kafka.{name}": value for name, value in _security(settings.broker).items()},
    }


_PROPERTIES = {
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.execution.arrow.pyspark.enabled": "true",
    # The driver's own engines read all of a history; fewer, larger pieces come over faster.
    "spark.sql.execution.arrow.maxRecordsPerBatch": "100000",
    "spark.driver.maxResultSize": "0",
    "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
    "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
    # Delta's own bookkeeping: its default of 50 tasks suits tables a thousand times larger.
    "spark.databricks.delta.snapshotPartitions": "2",
    # Its listing of a table's folder would take 10,000 tasks.
    "spark.sql.sources.parallelPartitionDiscovery.parallelism": "8",
    # A commit without rows still says how far the history is complete.
    "spark.databricks.delta.skipRecordingEmptyCommits": "false",
}


def _java_options(spark: Spark, home: Path) -> str:
    """Return the driver's Java options; those of the configuration come last, and win."""
    options = [_STACK, f'"-Dlog4j2.configurationFile={_LOGGING.as_uri()}"']
    archive = class_archive(home)
    if archive.exists():
        options += ["-Xlog:disable", "-Xlog:all=error:stderr", f'"-XX:SharedArchiveFile={archive}"']
    return " ".join([*options, spark.config.get(_JAVA_OPTIONS, "")]).strip()


def _jars(home: Path) -> list[str]:
    folder = home / "jars" / "spark"
    jars = sorted(str(path) for path in folder.glob("*.jar"))
    if not jars:
        message = f"there are no jars for Spark in {folder}; fetch them: `python -m stack.jars`"
        raise SparkSetupError(message)
    return jars


def _python() -> dict[str, str]:
    """Return the properties by which executors find this interpreter and these modules."""
    path = [str(ROOT), str(Path.cwd()), os.environ.get("PYTHONPATH", "")]
    return {
        "spark.pyspark.python": sys.executable,
        "spark.pyspark.driver.python": sys.executable,
        "spark.executorEnv.PYTHONPATH": os.pathsep.join(entry for entry in path if entry),
    }


def _security(client: BrokerClient) -> dict[str, str]:
    """Return the Java Kafka client's properties for the configured security."""
    found = {
        "security.protocol": client.security_protocol,
        "sasl.mechanism": client.sasl_mechanism,
        "sasl.jaas.config": _jaas(client),
        "ssl.truststore.type": "PEM" if client.ssl_ca_file else None,
        "ssl.truststore.location": client.ssl_ca_file,
        **_key_store(client),
    }
    return {name: str(value) for name, value in found.items() if value is not None}


def _key_store(client: BrokerClient) -> dict[str, str]:
    """Return key and certificate as text: as a file Kafka takes them only both in one."""
    if not (client.ssl_key_file and client.ssl_certificate_file):
        return {}
    return {
        "ssl.keystore.type": "PEM",
        "ssl.keystore.key": client.ssl_key_file.read_text(encoding="ascii"),
        "ssl.keystore.certificate.chain": client.ssl_certificate_file.read_text(encoding="ascii"),
    }


def _jaas(client: BrokerClient) -> str | None:
    if client.sasl_username is None or client.sasl_password is None:
        return None
    module = "plain.Plain" if client.sasl_mechanism == "PLAIN" else "scram.Scram"
    user = _quoted(client.sasl_username)
    password = _quoted(client.sasl_password.get_secret_value())
    return (
        f"org.apache.kafka.common.security.{module}LoginModule required "
        f"username={user} password={password};"
    )


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
