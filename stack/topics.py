"""The topics that a configuration names, made where they are not there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from stack.errors import EXIT_UNAVAILABLE, UserError

if TYPE_CHECKING:
    from common.config import Settings

#: Kafka's own limit of one record where a topic has none of its own.
DEFAULT_MAX_BYTES = 1_048_588


#: Key, headers and the protocol's framing of one record.
OVERHEAD_BYTES = 65_536


@dataclass(frozen=True)
class WantedTopic:
    """A topic as the configuration wants it."""

    role: str
    name: str
    broker: str
    partitions: int
    config: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class FoundTopic:
    """What became of a wanted topic.

    Attributes
    ----------
    role, name, broker
        ``input``, ``update`` or ``dead-letter``; the topic's name and its broker's address.
    partitions : int
        How many it has.
    created : bool
        Whether it was made now.
    difference : str
        How it differs from the configuration; empty where it does not.
    """

    role: str
    name: str
    broker: str
    partitions: int
    created: bool
    difference: str = ""

    def __str__(self) -> str:
        parts = "1 partition" if self.partitions == 1 else f"{self.partitions} partitions"
        did = "created" if self.created else "exists"
        told = f"{self.role} topic {self.name} at {self.broker}: {did}, {parts}"
        return f"{told}; {self.difference}" if self.difference else told


def create_topics(settings: Settings) -> list[FoundTopic]:
    """Create the topics that are not there, and compare those that are.

    Raises
    ------
    UserError
        If a broker does not answer or refuses.
    """
    from common.broker import open_broker

    found = []
    with broker_errors():
        for wanted in wanted_topics(settings):
            with open_broker(settings, wanted.broker) as broker:
                created = broker.create_topic(wanted.name, wanted.partitions, wanted.config)
                info = broker.topic(wanted.name)
            partitions = info.partitions if info else wanted.partitions
            found.append(_found(wanted, partitions, created))
    return found


def wanted_topics(settings: Settings) -> list[WantedTopic]:
    """Return the topics that the configuration names: input, update, dead letters."""
    events, updates = settings.input_topic, settings.update_topic
    lines = {"max.message.bytes": _max_bytes(events.max_line_bytes)}
    models = {
        "max.message.bytes": _max_bytes(updates.max_size),
        "retention.ms": str(updates.retention_hours * 3_600_000),
    }
    return [
        WantedTopic("input", events.name, events.broker, events.partitions, lines),
        # One partition: its records have one order.
        WantedTopic("update", updates.name, settings.update_broker, 1, models),
        WantedTopic("dead-letter", events.dead_letter, events.broker, 1, lines),
        WantedTopic("dead-letter", updates.dead_letter, settings.update_broker, 1, lines),
    ]


def _found(wanted: WantedTopic, partitions: int, created: bool) -> FoundTopic:
    difference = ""
    if partitions != wanted.partitions:
        difference = f"the configuration says {wanted.partitions}: it stays as it is"
    return FoundTopic(
        wanted.role, wanted.name, wanted.broker, partitions, created, difference=difference
    )


def _max_bytes(payload: int) -> str:
    return str(max(DEFAULT_MAX_BYTES, payload + OVERHEAD_BYTES))


@contextmanager
def broker_errors() -> Iterator[None]:
    """Turn a broker's errors into a :class:`UserError`, with the code for what is not there."""
    from common.broker import BrokerError

    try:
        yield
    except BrokerError as error:
        raise UserError(str(error), exit_code=EXIT_UNAVAILABLE) from None
