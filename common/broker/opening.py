"""Opens a broker, and only then imports the client library that the configuration selects."""

from __future__ import annotations

from typing import TYPE_CHECKING

from common.broker.api import Broker, BrokerError
from common.broker.memory import MemoryBroker

if TYPE_CHECKING:
    from common.config import Settings


def open_broker(settings: Settings, address: str | None = None) -> Broker:
    """Connect to the cluster that the configuration names.

    Parameters
    ----------
    settings : Settings
        ``broker.client`` selects the client library: ``auto`` takes confluent-kafka if it is
        installed and kafka-python otherwise.
    address : str, optional
        ``host:port[,host:port]``; the input topic's broker by default.  ``memory://NAME`` is
        a broker in this process.

    Raises
    ------
    BrokerError
        If no broker answers at the address within ``broker.connect_timeout_seconds``.
    """
    address = address or settings.input_topic.broker
    if address.startswith("memory://"):
        return MemoryBroker.named(address)
    client = settings.broker.client
    if client in ("auto", "confluent"):
        # The package need not be there.
        try:
            from common.broker.confluent import ConfluentBroker
        except ImportError:
            if client == "confluent":
                message = (
                    'broker.client = "confluent" needs the package confluent-kafka; '
                    'install it with "pip install confluent-kafka" or set broker.client = "auto"'
                )
                raise BrokerError(message) from None
        else:
            return ConfluentBroker(address, settings.broker)
    # 10 MB and 0.15 s, which a process on the other client does without.
    from common.broker.kafka_python import KafkaPythonBroker

    return KafkaPythonBroker(address, settings.broker)
