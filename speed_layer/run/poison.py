"""Events over which the family fails: found one by one, and left out."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator

import pyarrow as pa

from speed_layer.api import Events
from speed_layer.run.view import FoldError

log = logging.getLogger(__name__)


class PoisonEvents:
    """What a micro-batch that fails costs: one event, not the layer.

    A family that has failed may have moved its model half on, so that the view is opened anew
    each time.  The micro-batch is then folded in one event at a time, until one fails alone.

    Parameters
    ----------
    counts : Counter of str
        ``failed_events``: those that are left out.
    """

    def __init__(self, counts: Counter[str]) -> None:
        self._counts = counts
        self._left_out: set[tuple[int, int]] = set()
        # For each partition the offset before which events are folded in one by one.
        self._suspected: dict[int, int] = {}

    def parts(self, events: pa.Table) -> list[pa.Table]:
        """Return a micro-batch as what is to be folded in at once: all of it, or single events."""
        suspected = self._suspected
        if suspected and any(at < suspected.get(p, 0) for p, at in _positions(events)):
            return [events.slice(row, 1) for row in range(events.num_rows)]
        return [events]

    def without(self, events: Events) -> Events:
        """Return events without those that are left out."""
        if not self._left_out:
            return events
        kept = [position not in self._left_out for position in _positions(events.records)]
        mask = pa.array(kept, pa.bool_())
        return Events(events.records.filter(mask), events.columns.filter(mask))

    def note(self, events: Events, error: FoldError) -> None:
        """Remember events over which the family has failed; a single one is left out now."""
        found = _positions(events.records)
        if len(events) == 1:
            event = next(found)
            self._left_out.add(event)
            self._counts["failed_events"] += 1
            log.error("input topic %d:%d: the event is left out: %s", *event, error, exc_info=error)
            return
        for partition, at in found:
            self._suspected[partition] = max(self._suspected.get(partition, 0), at + 1)
        log.error("the family fails over one of %d events: %s", len(events), error)

    def forget(self) -> None:
        """Begin anew: the input topic is another one."""
        self._left_out.clear()
        self._suspected.clear()


def _positions(events: pa.Table | pa.RecordBatch) -> Iterator[tuple[int, int]]:
    """Yield each event's partition and offset."""
    return zip(events["partition"].to_pylist(), events["offset"].to_pylist(), strict=True)
