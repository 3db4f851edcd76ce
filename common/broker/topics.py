"""Where the input topic stands, and what of it is gone that somebody still needs."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from common.broker.api import Broker, BrokerError, TopicInfo
from common.broker.opening import open_broker

if TYPE_CHECKING:
    from common.config import Settings

log = logging.getLogger(__name__)


class UnusableTopicError(RuntimeError):
    """A topic cannot be worked with as it is; the text says what to do."""


class MissingTopicError(UnusableTopicError):
    """A topic does not exist; the text names the command that creates it."""


class InputLostError(RuntimeError):
    """The input topic no longer holds what is needed; the text gives the exact range."""


@dataclass(frozen=True)
class TopicState:
    """The input topic as the broker has it.

    Attributes
    ----------
    info : TopicInfo
        Name and identity.
    begin, end : mapping of int to int
        For each partition the oldest offset, and the offset of the next record.
    """

    info: TopicInfo
    begin: Mapping[int, int]
    end: Mapping[int, int]

    @classmethod
    def read(cls, broker: Broker, name: str) -> TopicState:
        """Ask the broker; raises MissingTopicError where there is no such topic."""
        info = existing_topic(broker, name)
        return cls(info, broker.begin_offsets(name), broker.end_offsets(name))

    def from_offsets(self, offsets: Mapping[int, int]) -> dict[int, int]:
        """Return where to read on in each partition, as far as its records are still there.

        A partition that `offsets` does not name was added since: it is read from its first.
        """
        return {p: max(offsets.get(p, 0), begin) for p, begin in self.begin.items()}

    def gone(self, offsets: Mapping[int, int]) -> str:
        """Say which records from `offsets` on were removed; empty where none were."""
        wanted = {p: (offsets.get(p, 0), begin) for p, begin in self.begin.items()}
        return ", ".join(
            f"partition {p}: offsets {at} to {begin - 1}"
            for p, (at, begin) in wanted.items()
            if begin > at
        )


def existing_topic(broker: Broker, name: str) -> TopicInfo:
    """Describe a topic; raises MissingTopicError where there is none."""
    found = broker.topic(name)
    if found is None:
        message = f"there is no topic {name!r}: bin/gemsbok topics setup makes it"
        raise MissingTopicError(message)
    return found


def ordered_topic(broker: Broker, name: str) -> TopicInfo:
    """Describe the update topic, whose records must have one order.

    Raises
    ------
    MissingTopicError
        If there is none of this name.
    UnusableTopicError
        If it has several partitions.
    """
    found = existing_topic(broker, name)
    _require_order(found)
    return found


def _require_order(found: TopicInfo) -> None:
    if found.partitions > 1:
        message = (
            f"the update topic {found.name!r} has {found.partitions} partitions, so its records "
            "have no one order: delete it and make it again with one (bin/gemsbok topics setup), "
            "or name another in update_topic.name"
        )
        raise UnusableTopicError(message)


def check_topics(
    settings: Settings, with_input: bool = True, with_dead_letters: bool = False
) -> None:
    """Refuse to start without the topics, as far as their brokers can be asked.

    Parameters
    ----------
    settings : Settings
        Names the topics and their brokers.
    with_input : bool
        Whether the process needs the input topic.
    with_dead_letters : bool
        Whether it writes the update topic's dead letters.

    Raises
    ------
    MissingTopicError
        If a broker says that there is no such topic.
    UnusableTopicError
        If the update topic has several partitions.
    """
    topics = {settings.update_broker: [settings.update_topic.name]}
    if with_dead_letters:
        topics[settings.update_broker].append(settings.update_topic.dead_letter)
    if with_input:
        topics.setdefault(settings.input_topic.broker, []).append(settings.input_topic.name)
    for address, names in topics.items():
        try:
            with open_broker(settings, address) as broker:
                found = {name: broker.topic(name) for name in names}
        except BrokerError as error:
            log.warning("%s; started all the same, it is tried again", error)
            continue
        absent = [name for name, info in found.items() if info is None]
        if absent:
            message = (
                f"there is no topic {' nor '.join(absent)} on {address}: "
                "bin/gemsbok topics setup makes them"
            )
            raise MissingTopicError(message)
        update = found.get(settings.update_topic.name)
        if update is not None and address == settings.update_broker:
            _require_order(update)
