"""Properties of the layers' Spark sessions and options of its Kafka source; imports no Spark."""

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
#: The lineage of MLlib's iterations is serialized recursively: the default stack of 1 MiB
#: overflows, which in local mode ends the process.
_STACK = "-Xss8m"
#: Masters with all processes on this machine, which then listen on loopback only.
_ON_THIS_MACHINE = re.compile(r"local(\[.*\]|-cluster\[.*\])?|spark://(127\.0\.0\.1|localhost):\d+")


class SparkSetupError(RuntimeError):
    """Spark cannot be started; the text says how to repair it."""


def spark_properties(spark: Spark, app_name: str, home: Path) -> dict[str, str]:
    """Return the properties of a layer's Spark session.

    Parameters
    ----------
    spark : Spark
        The layer's table of the configuration; its ``config`` overrides all other properties.
    app_name : str
        Shown in Spark's logs and cluster managers.
    home : Path
        State folder; its ``jars/spark`` holds the Kafka connector and Delta Lake.

    Raises
    ------
    SparkSetupError
        If the jars are absent.
    """
    properties = {
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
        properties |= {"spark.driver.host": LOOPBACK, "spark.driver.bindAddress": LOOPBACK}
    configured = {name: value for name, value in spark.config.items() if name != _JAVA_OPTIONS}
    return properties | configured


def class_archive(home: Path) -> Path:
    """Return the path of the class-data archive of Spark, which saves seconds at each start.

    ``python -m batch_layer.run.class_archive`` creates it; a Java of another version ignores it.
    """
    return home / "cache" / "spark.jsa"


def kafka_options(settings: Settings) -> dict[str, str]:
    """Return the options of Spark's Kafka source for the input topic, security included."""
    return {
        "kafka.bootstrap.servers": settings.input_topic.broker,
        "subscribe": settings.input_topic.name,
        # Lost records stop the query: an operator decides how to go on.
        "failOnDataLoss": "true",
        # Kafka's default of 500 makes reading a fifth slower.
        "kafka.max.poll.records": "10000",
        **{f"kafka.{name}": value for name, value in _security(settings.broker).items()},
    }


_PROPERTIES = {
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.execution.arrow.pyspark.enabled": "true",
    # Engines in the driver read the complete history; larger record batches transfer faster.
    "spark.sql.execution.arrow.maxRecordsPerBatch": "100000",
    "spark.driver.maxResultSize": "0",
    "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
    "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
    # Tasks that compute a Delta snapshot; the default of 50 suits far larger tables.
    "spark.databricks.delta.snapshotPartitions": "2",
    # Tasks that list a table's folder; the default is 10,000.
    "spark.sql.sources.parallelPartitionDiscovery.parallelism": "8",
    # A commit without rows still records the offsets up to which the history is complete.
    "spark.databricks.delta.skipRecordingEmptyCommits": "false",
}


def _java_options(spark: Spark, home: Path) -> str:
    """Return the driver's Java options; those of the configuration come last and override."""
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
    properties = {
        "security.protocol": client.security_protocol,
        "sasl.mechanism": client.sasl_mechanism,
        "sasl.jaas.config": _jaas(client),
        "ssl.truststore.type": "PEM" if client.ssl_ca_file else None,
        "ssl.truststore.location": client.ssl_ca_file,
        **_key_store(client),
    }
    return {name: str(value) for name, value in properties.items() if value is not None}


def _key_store(client: BrokerClient) -> dict[str, str]:
    """Return key and certificate as text: as files, Kafka takes them only in one common file."""
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
