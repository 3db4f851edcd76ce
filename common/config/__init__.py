"""Configuration: one tree of typed settings, the same for every process.

Its sources are read by :mod:`common.runtime.configuration`.
"""

from common.config.settings import (
    Api,
    Auth,
    Batch,
    BrokerClient,
    Eval,
    InputSchema,
    InputTopic,
    Ml,
    Section,
    Serving,
    Settings,
    Spark,
    Speed,
    SpeedSpark,
    Storage,
    UpdateTopic,
    fingerprint,
)
from common.config.sources import ConfigError

__all__ = [
    "Api",
    "Auth",
    "Batch",
    "BrokerClient",
    "ConfigError",
    "Eval",
    "InputSchema",
    "InputTopic",
    "Ml",
    "Section",
    "Serving",
    "Settings",
    "Spark",
    "Speed",
    "SpeedSpark",
    "Storage",
    "UpdateTopic",
    "fingerprint",
]
