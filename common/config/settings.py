"""The settings of all processes, as one tree of typed tables.

Sources in order of precedence: flags (``--set batch.interval_seconds=60``), environment
(``GEMSBOK_BATCH__INTERVAL_SECONDS``), the TOML file, defaults.  Keys are those of Oryx in
snake case.  An unknown key is an error that names the nearest known one.

Each model family declares its own section in ``common/apps/<family>`` as ``class
Settings(Section)``; a user's family does so in the module that ``app`` names.
"""

from __future__ import annotations

import json
from typing import Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    model_validator,
)

from common.base.hashing import sha256_hex
from common.config.sources import ConfigError as ConfigError
from common.config.types import Address, File, Heap, Location, TopicName


class Section(BaseModel):
    """A table of the configuration; unknown keys are refused."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False, str_min_length=1
    )


class InputTopic(Section):
    """The topic of raw events."""

    broker: Address = Field(
        "127.0.0.1:9092", description="Bootstrap servers: host:port[,host:port]."
    )
    name: TopicName = Field("gemsbok.input", description="Name of the topic.")
    partitions: int = Field(4, ge=1, description="Partitions, when `topics setup` creates it.")
    max_line_bytes: int = Field(
        65536, ge=1024, description="Bytes of one event's line; a longer one is refused."
    )

    @property
    def dead_letter(self) -> str:
        """Name of the topic for lines that are refused."""
        return f"{self.name}.dlq"


class UpdateTopic(Section):
    """The topic that coordinates the layers."""

    broker: Address | None = Field(
        None, description="Bootstrap servers; the input topic's if absent."
    )
    name: TopicName = Field("gemsbok.update", description="Name of the topic.")
    max_size: int = Field(
        16_777_216, ge=1024, description="Bytes: a larger model is sent as MODEL-REF, not MODEL."
    )
    factors: Literal["files", "topic"] = Field(
        "files",
        description="Where ALS factors travel: in the generation's files, or as UP messages "
        "on the topic too, as Oryx does.",
    )
    retention_hours: int = Field(
        24, ge=1, description="Hours kept, when `topics setup` creates it; ≥ 2 batch intervals."
    )

    @property
    def dead_letter(self) -> str:
        """Name of the topic for update records that are refused; the speed layer writes to it."""
        return f"{self.name}.dlq"


class BrokerClient(Section):
    """How to connect to Kafka."""

    client: Literal["auto", "kafka-python", "confluent"] = Field(
        "auto", description="Client library; auto takes confluent-kafka where installed."
    )
    connect_timeout_seconds: float = Field(10.0, gt=0, description="Seconds to reach a broker.")
    delivery_timeout_seconds: float = Field(
        30.0, gt=0, description="Seconds until an unacknowledged record counts as failed."
    )
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="Kafka's security protocol."
    )
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = Field(
        None, description="Kafka's SASL mechanism."
    )
    sasl_username: str | None = Field(None, description="SASL user.")
    sasl_password: SecretStr | None = Field(None, description="SASL password.")
    ssl_ca_file: File | None = Field(None, description="PEM file of the authorities trusted.")
    ssl_certificate_file: File | None = Field(None, description="PEM file of our certificate.")
    ssl_key_file: File | None = Field(None, description="PEM file of our private key.")


class Spark(Section):
    """How a layer starts Spark, where spark-submit has not started it already."""

    master: str = Field("local[*]", description="Spark master.")
    driver_memory: Heap = Field("1g", description="Heap of the driver.")
    executor_memory: Heap = Field("1g", description="Heap of an executor.")
    executor_cores: int = Field(2, ge=1, description="Cores of an executor.")
    num_executors: int = Field(2, ge=1, description="Executors, on a cluster.")
    shuffle_partitions: int = Field(4, ge=1, description="Partitions after a shuffle.")
    config: dict[str, str] = Field(
        default_factory=dict, description="Further Spark properties, passed through."
    )


class SpeedSpark(Spark):
    """How the speed layer starts Spark: its state is small and its micro-batches are short."""

    driver_memory: Heap = Field("512m", description="Heap of the driver.")
    executor_memory: Heap = Field("512m", description="Heap of an executor.")
    shuffle_partitions: int = Field(2, ge=1, description="Partitions after a shuffle.")


class Storage(Section):
    """Locations and retention of history and generations."""

    data_dir: Location = Field(
        "data",
        description="Folder or URI of the history (one Delta table per app); a relative folder "
        "lies in the state folder ($GEMSBOK_HOME, or .gemsbok beside the code).",
    )
    model_dir: Location = Field(
        "model", description="Folder or URI of the generations; relative as data_dir."
    )
    key_file: File | None = Field(
        None,
        description="File of at least 32 random bytes: generations are signed with it, and those "
        "without its signature are refused.",
    )
    max_age_data_hours: int = Field(
        -1, ge=-1, description="Hours after which history is removed; -1 keeps all, 0 none."
    )
    max_age_model_hours: int = Field(
        -1, ge=-1, description="Hours after which generations are removed; -1 keeps all."
    )


class Batch(Section):
    """The batch layer."""

    interval_seconds: float = Field(
        21600, gt=0, description="Seconds from the start of one generation to the next."
    )
    max_offsets_per_trigger: int = Field(
        2_000_000, ge=1, description="Events read from the input topic at once."
    )
    storage: Storage = Field(default_factory=Storage)
    spark: Spark = Field(default_factory=Spark)


class Speed(Section):
    """The speed layer."""

    interval_seconds: float = Field(
        0.2, ge=0, description="Seconds between micro-batches; 0 starts the next one at once."
    )
    min_model_load_fraction: float = Field(
        0.8, ge=0, le=1, description="Share of the model that must be loaded before updates."
    )
    max_offsets_per_trigger: int = Field(
        50_000, ge=1, description="Events in one micro-batch at most."
    )
    overlap_seconds: float = Field(
        60.0,
        ge=0,
        description="Seconds that the generation before is kept up to date after a new one has "
        "caught up: serving replicas that still load the new one serve fresh answers meanwhile.",
    )
    spark: SpeedSpark = Field(default_factory=SpeedSpark)


class Auth(Section):
    """Users of the HTTP interface and their limits; without a file there are no log-ins."""

    file: File | None = Field(
        None, description="Names, roles and hashed secrets: `bin/gemsbok auth add` writes it."
    )
    nonce_seconds: float = Field(300.0, gt=0, description="Seconds that a digest's nonce is good.")
    bad_logins_per_minute: int = Field(
        20, ge=1, description="Wrong credentials from one address, before the reply is 429."
    )
    requests_per_second: float | None = Field(
        None, gt=0, description="Requests of one user; ten seconds' worth may come at once."
    )
    events_per_second: float | None = Field(
        None, gt=0, description="Events that one user may write; ten seconds' worth at once."
    )


class Api(Section):
    """The serving layer's HTTP interface."""

    host: str = Field("127.0.0.1", description="Address to bind.")
    port: int = Field(8080, ge=0, le=65535, description="Port of HTTP; 0 takes a free one.")
    secure_port: int = Field(
        8443, ge=0, le=65535, description="Port of HTTPS, in place of HTTP; with certificate_file."
    )
    certificate_file: File | None = Field(
        None, description="PEM file of the certificate, with those that it rests on."
    )
    key_file: File | None = Field(None, description="PEM file of the certificate's private key.")
    key_password: SecretStr | None = Field(None, description="Password of the private key.")
    allowed_hosts: list[str] = Field(
        default_factory=list,
        description="Names, without ports, that requests may be for (Host); where none is given, "
        "all names with authentication, loopback's without.",
    )
    auth: Auth = Field(default_factory=Auth)
    read_only: bool = Field(False, description="Refuse every request that writes (403).")
    context_path: str = Field("/", description="Path under which all routes lie.")
    workers: int = Field(
        1, ge=1, description="Processes that answer on the port, each with the whole model."
    )
    threads: int = Field(16, ge=1, description="Requests that a process computes at once.")
    max_body_bytes: int = Field(
        67_108_864, ge=1024, description="Bytes of a request's body, also once decompressed."
    )

    @model_validator(mode="after")
    def _certificate_has_key(self) -> Api:
        if (self.certificate_file is None) != (self.key_file is None):
            message = "certificate_file and key_file go together: one of them is missing"
            raise ValueError(message)
        return self


class Serving(Section):
    """The serving layer."""

    api: Api = Field(default_factory=Api)
    min_model_load_fraction: float = Field(
        0.8, ge=0, le=1, description="Share of the model that must be loaded before it answers."
    )
    catch_up_timeout_seconds: float = Field(
        60.0,
        ge=0,
        description="A new generation waits until the speed layer has folded in what the served "
        "one already has. If it has sent nothing for either of them for so many seconds, the new "
        "one is served all the same, counted.",
    )


class Eval(Section):
    """Held-out evaluation and the search for hyperparameters."""

    test_fraction: float = Field(
        0.1, ge=0, le=1, description="Share of the new data held out; 0 evaluates nothing."
    )
    candidates: int = Field(1, ge=1, description="Models to build and compare.")
    parallelism: int = Field(1, ge=1, description="Candidates built at once.")
    hyperparam_search: Literal["random", "grid"] = Field(
        "random", description="How candidates are drawn from the hyperparameters' ranges."
    )
    threshold: float | None = Field(
        None, description="A best model that evaluates below this is not published."
    )
    refit: bool = Field(
        True, description="Train the best candidate again on all data, the held-out part too."
    )


class Ml(Section):
    """What all learning families share."""

    eval: Eval = Field(default_factory=Eval)
    seed: int = Field(1, description="Seed of every random choice in training.")


class InputSchema(Section):
    """What the fields of an input line are (families with features)."""

    feature_names: list[str] = Field(default_factory=list, description="Names, in order.")
    num_features: int = Field(0, ge=0, description="Their number, where they have no names.")
    id_features: list[str] = Field(default_factory=list, description="Identify, not learned.")
    ignored_features: list[str] = Field(default_factory=list, description="Passed over.")
    numeric_features: list[str] | None = Field(None, description="Numbers; the rest are not.")
    categorical_features: list[str] | None = Field(
        None, description="Categories; the rest are numbers."
    )
    target_feature: str | None = Field(None, description="What is to be predicted.")


class Settings(Section):
    """The complete configuration; `common.runtime.configuration` adds the families' sections."""

    app: str = Field(
        "als", description="Model family: one that conf/ has a file of, or a module of your own."
    )
    id: str | None = Field(None, description="Name of this instance, in logs and process names.")
    input_topic: InputTopic = Field(default_factory=InputTopic)
    update_topic: UpdateTopic = Field(default_factory=UpdateTopic)
    broker: BrokerClient = Field(default_factory=BrokerClient)
    batch: Batch = Field(default_factory=Batch)
    speed: Speed = Field(default_factory=Speed)
    serving: Serving = Field(default_factory=Serving)
    ml: Ml = Field(default_factory=Ml)
    input_schema: InputSchema = Field(default_factory=InputSchema)

    @property
    def update_broker(self) -> str:
        """Bootstrap servers of the update topic."""
        return self.update_topic.broker or self.input_topic.broker

    def section(self, name: str) -> Any:
        """Return a family's section by its name.

        The type is Any because only the family knows its class: ``als = settings.section("als")``.
        """
        return getattr(self, name)

    @model_validator(mode="after")
    def _topics_differ(self) -> Settings:
        same_broker = self.update_broker == self.input_topic.broker
        if same_broker and self.update_topic.name == self.input_topic.name:
            message = f"input_topic.name and update_topic.name are both {self.input_topic.name!r}"
            raise ValueError(message)
        return self


def fingerprint(settings: Settings) -> str:
    """Return the SHA-256 (hex) of the configuration, without the values of secrets."""
    # Pydantic dumps secrets as asterisks.
    values = settings.model_dump(mode="json", by_alias=True)
    return sha256_hex(json.dumps(values, sort_keys=True))
