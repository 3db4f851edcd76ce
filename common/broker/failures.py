"""What can go wrong with a broker, in words that are the same for every client."""

from __future__ import annotations

from common.broker.api import BrokerError


def unreachable(address: str, seconds: float, reason: object = "") -> BrokerError:
    """Return the error for an address at which no broker answers."""
    why = f" ({reason})" if reason else ""
    message = (
        f"no broker answers at {address} within {seconds:g} s{why}; start the embedded one with "
        f"`bin/gemsbok kafka start`, or set input_topic.broker to the address of yours"
    )
    return BrokerError(message, retriable=True)


def unknown_topic(topic: str) -> BrokerError:
    """Return the error for a topic that does not exist."""
    message = f"there is no topic {topic!r}; create it with `bin/gemsbok topics setup`"
    return BrokerError(message)


def deleted(topic: str) -> BrokerError:
    """Return the error for a topic that is gone, or replaced by another of its name."""
    message = (
        f"topic {topic!r} was deleted, and perhaps made again, while it was read: "
        f"offsets of the old one mean nothing in the new one; start the reader anew"
    )
    return BrokerError(message)


def out_of_range(
    topic: str, partition: int, position: int, available: tuple[int, int]
) -> BrokerError:
    """Return the error for a position that its partition does not hold.

    Parameters
    ----------
    topic, partition, position
        What was asked for.
    available : (int, int)
        The oldest offset that can be read, and the partition's end.
    """
    begin, end = available
    if position < begin:
        what = f"offsets {position} to {begin - 1} are gone (retention has passed by)"
    else:
        what = f"offset {position} lies after its end {end} (was the topic made again?)"
    message = f"topic {topic!r}, partition {partition}: {what}; it now holds {begin} to {end}"
    return BrokerError(message)


def unacknowledged(count: int, seconds: float) -> BrokerError:
    """Return the error for records whose acknowledgement did not come in time."""
    message = (
        f"{count} records were not acknowledged within {seconds:g} s; they may have been written "
        f"or may be yet; is the broker overloaded or down?"
    )
    return BrokerError(message, retriable=True, outcome_unknown=True)


def undelivered(failed: int, written: int, first: BrokerError) -> BrokerError:
    """Return the error for records of which some failed.

    Parameters
    ----------
    failed, written : int
        How many of them are not in the topic, or perhaps not, and how many certainly are.
    first : BrokerError
        Why the first one failed.
    """
    message = f"{failed} of {failed + written} records were not delivered; the first: {first}"
    outcome_unknown = first.outcome_unknown or written > 0
    return BrokerError(message, retriable=first.retriable, outcome_unknown=outcome_unknown)
