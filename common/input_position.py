"""Where the input topic stands, and what of it is gone that somebody still needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from common.broker import Broker, TopicInfo
from common.process import MissingTopicError


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
