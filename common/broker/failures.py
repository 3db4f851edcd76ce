"""The broker's errors, with the same text for every client library."""

from __future__ import annotations

from common.broker.api import BrokerError


def unreachable(address: str, seconds: float, reason: object = "") -> BrokerError:
    """Return the error for an address at which no broker answers."""
    cause = f" ({reason})" if reason else ""
    message = (
        f"no broker answers at {address} within {seconds:g} s{cause}; start the embedded one with "
        f"`bin/gemsbok kafka start`, or set input_topic.broker to the address of yours"
    )
    return BrokerError(message, retriable=True)


def unknown_topic(topic: str) -> BrokerError:
    """Return the error for a topic that does not exist."""
    message = f"there is no topic {topic!r}; create it with `bin/gemsbok topics setup`"
    return BrokerError(message)


def deleted(topic: str) -> BrokerError:
    """Return the error for a topic that was deleted, or recreated under the same name."""
    message = (
        f"topic {topic!r} was deleted, and perhaps made again, while it was read: "
        f"offsets of the old one mean nothing in the new one; start the reader anew"
    )
    return BrokerError(message)


def out_of_range(
    topic: str, partition: int, position: int, available: tuple[int, int]
) -> BrokerError:
    """Return the error for a position outside the offsets that its partition holds.

    Parameters
    ----------
    topic, partition, position
        The requested position.
    available : (int, int)
        The oldest offset that can be read, and the partition's end.
    """
    begin, end = available
    if position < begin:
        problem = f"offsets {position} to {begin - 1} are gone (retention has passed by)"
    else:
        problem = f"offset {position} lies after its end {end} (was the topic made again?)"
    message = f"topic {topic!r}, partition {partition}: {problem}; it now holds {begin} to {end}"
    return BrokerError(message)


def unacknowledged(count: int, seconds: float) -> BrokerError:
    """Return the error for records that were not acknowledged in time."""
    message = (
        f"{count} records were not acknowledged within {seconds:g} s; they may have been written "
        f"or may be yet; is the broker overloaded or down?"
    )
    return BrokerError(message, retriable=True, outcome_unknown=True)


def undelivered(failed: int, written: int, first: BrokerError) -> BrokerError:
    """Return the error for a set of records of which at least one failed.

    Parameters
    ----------
    failed, written : int
        Number of records that are not, or perhaps not, in the topic, and that certainly are.
    first : BrokerError
        The error of the first record that failed.
    """
    message = f"{failed} of {failed + written} records were not delivered; the first: {first}"
    outcome_unknown = first.outcome_unknown or written > 0
    return BrokerError(message, retriable=first.retriable, outcome_unknown=outcome_unknown)
