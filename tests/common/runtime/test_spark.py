"""The properties of a Spark session, and the options of its Kafka source."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from common.config import Spark
from common.runtime.configuration import load
from common.runtime.spark import SparkSetupError, class_archive, kafka_options, spark_properties


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "jars" / "spark").mkdir(parents=True)
    for name in ("b.jar", "a.jar", "jars.lock"):
        (tmp_path / "jars" / "spark" / name).touch()
    return tmp_path


def properties(home: Path, **spark: Any) -> dict[str, str]:
    return spark_properties(Spark(**spark), "app", home)


def test_the_jars_are_the_local_ones(home: Path) -> None:
    jars = home / "jars" / "spark"
    assert properties(home)["spark.jars"] == f"{jars / 'a.jar'},{jars / 'b.jar'}"


def test_without_jars_it_says_how_to_get_them(tmp_path: Path) -> None:
    with pytest.raises(SparkSetupError, match=r"python -m stack\.jars"):
        properties(tmp_path)


@pytest.mark.parametrize(
    ("master", "loopback"),
    [
        ("local", True),
        ("local[*]", True),
        ("local[2]", True),
        ("spark://127.0.0.1:7077", True),
        ("spark://localhost:7077", True),
        ("spark://10.0.0.1:7077", False),
        ("yarn", False),
        ("k8s://https://host", False),
    ],
)
def test_the_driver_stays_on_loopback_unless_executors_are_elsewhere(
    home: Path, master: str, loopback: bool
) -> None:
    found = properties(home, master=master)
    assert (found.get("spark.driver.bindAddress") == "127.0.0.1") is loopback
    assert (found.get("spark.driver.host") == "127.0.0.1") is loopback
    assert found["spark.ui.enabled"] == "false"


def test_the_configuration_has_the_last_word(home: Path) -> None:
    given = {"spark.ui.enabled": "true", "spark.driver.extraJavaOptions": "-Dx=y"}
    found = properties(home, config=given)
    assert found["spark.ui.enabled"] == "true"
    ours, _, theirs = found["spark.driver.extraJavaOptions"].rpartition(" ")
    assert theirs == "-Dx=y"
    assert "log4j2.properties" in ours
    assert "SharedArchiveFile" not in ours


def test_the_class_archive_is_taken_where_there_is_one(home: Path) -> None:
    class_archive(home).parent.mkdir()
    class_archive(home).touch()
    found = properties(home)["spark.driver.extraJavaOptions"]
    assert f'"-XX:SharedArchiveFile={class_archive(home)}"' in found


def test_kafka_is_read_without_silent_loss() -> None:
    settings = load(None, {"input_topic.broker": "a:1,b:2", "input_topic.name": "events"}, {})
    found = kafka_options(settings)
    assert found["kafka.bootstrap.servers"] == "a:1,b:2"
    assert found["subscribe"] == "events"
    assert found["failOnDataLoss"] == "true"
    assert found["kafka.security.protocol"] == "PLAINTEXT"


@pytest.mark.parametrize(
    ("mechanism", "module"),
    [
        ("PLAIN", "org.apache.kafka.common.security.plain.PlainLoginModule"),
        ("SCRAM-SHA-512", "org.apache.kafka.common.security.scram.ScramLoginModule"),
    ],
)
def test_sasl_and_tls_are_passed_through(tmp_path: Path, mechanism: str, module: str) -> None:
    for name in ("ca", "key", "certificate"):
        (tmp_path / f"{name}.pem").write_text(f"PEM of {name}")
    flags = {
        "broker.security_protocol": "SASL_SSL",
        "broker.sasl_mechanism": mechanism,
        "broker.sasl_username": "me",
        "broker.sasl_password": 'p"w\\d',
        "broker.ssl_ca_file": str(tmp_path / "ca.pem"),
        "broker.ssl_key_file": str(tmp_path / "key.pem"),
        "broker.ssl_certificate_file": str(tmp_path / "certificate.pem"),
    }
    found = kafka_options(load(None, flags, {}))
    assert found["kafka.security.protocol"] == "SASL_SSL"
    assert found["kafka.sasl.mechanism"] == mechanism
    assert found["kafka.sasl.jaas.config"] == (
        f'{module} required username="me" password="p\\"w\\\\d";'
    )
    assert found["kafka.ssl.truststore.location"] == str(tmp_path / "ca.pem")
    assert found["kafka.ssl.keystore.key"] == "PEM of key"
    assert found["kafka.ssl.keystore.certificate.chain"] == "PEM of certificate"
