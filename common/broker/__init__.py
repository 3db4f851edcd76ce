"""Access to Kafka; import the names below from here, `topics` and `failures` by module."""

from common.broker.api import (
    Broker,
    BrokerError,
    Position,
    Producer,
    Reader,
    Record,
    TopicInfo,
    read_all,
)
from common.broker.opening import open_broker

__all__ = [
    "Broker",
    "BrokerError",
    "Position",
    "Producer",
    "Reader",
    "Record",
    "TopicInfo",
    "open_broker",
    "read_all",
]
