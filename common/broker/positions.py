"""Resolves the start position of a reader to offsets."""

from __future__ import annotations

from common.broker.api import Broker, BrokerError, Position


def start_offsets(broker: Broker, topic: str, start: Position) -> dict[int, int]:
    """Return the first offset to read, for every partition of `topic`.

    Raises
    ------
    BrokerError
        If the topic does not exist, or `start` names a partition that it does not have.
    """
    if start == "latest":
        return broker.end_offsets(topic)
    begin = broker.begin_offsets(topic)
    if start == "earliest":
        return begin
    unknown = sorted(set(start) - set(begin))
    if unknown:
        message = f"topic {topic!r} has no partitions {unknown}: it has {len(begin)}"
        raise BrokerError(message)
    return {**begin, **start}
