"""The state of the input topic, lost records, and the check that topics exist."""

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
    """The input topic no longer holds needed records; the text gives the exact offsets."""


@dataclass(frozen=True)
class TopicState:
    """Identity and offsets of the input topic.

    Attributes
    ----------
    info : TopicInfo
        Name and identity.
    begin, end : mapping of int to int
        For each partition the oldest offset, and the end offset.
    """

    info: TopicInfo
    begin: Mapping[int, int]
    end: Mapping[int, int]

    @classmethod
    def read(cls, broker: Broker, name: str) -> TopicState:
        """Read the state from the broker; raises MissingTopicError if the topic does not exist."""
        info = existing_topic(broker, name)
        return cls(info, broker.begin_offsets(name), broker.end_offsets(name))

    def from_offsets(self, offsets: Mapping[int, int]) -> dict[int, int]:
        """Return for each partition the offset in `offsets`, or the oldest one if that is gone.

        A partition that is not in `offsets` was added since, and is read from its beginning.
        """
        return {p: max(offsets.get(p, 0), begin) for p, begin in self.begin.items()}

    def gone(self, offsets: Mapping[int, int]) -> str:
        """Describe the records at or after `offsets` that were removed; empty if none were."""
        ranges = {p: (offsets.get(p, 0), begin) for p, begin in self.begin.items()}
        return ", ".join(
            f"partition {p}: offsets {start} to {begin - 1}"
            for p, (start, begin) in ranges.items()
            if begin > start
        )


def existing_topic(broker: Broker, name: str) -> TopicInfo:
    """Describe a topic; raises MissingTopicError if it does not exist."""
    info = broker.topic(name)
    if info is None:
        message = f"there is no topic {name!r}: bin/gemsbok topics setup makes it"
        raise MissingTopicError(message)
    return info


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
    """Raise if a topic that the process needs does not exist; skip brokers that do not answer.

    Parameters
    ----------
    settings : Settings
        Has the names of the topics and their brokers.
    with_input : bool
        Whether the process needs the input topic.
    with_dead_letters : bool
        Whether it writes the update topic's dead letters.

    Raises
    ------
    MissingTopicError
        If a topic does not exist.
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
