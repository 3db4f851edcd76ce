"""Typed settings and their sources; import the names below from here, the rest from its modules.

:mod:`common.runtime.configuration` loads a configuration from its sources.
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
