"""The order of one generation's messages: each once, from one writer, a micro-batch at a time.

A log is a function of the update topic's records alone, without clock or lock: all that read
the topic accept the same messages.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise

from common.wire.messages import UP, Message, MessageError, Progress, Stamp


@dataclass
class SequenceLog:
    """What has been read of one generation's messages, and whether it is all of them.

    It holds the ``UP`` messages of a micro-batch back until the ``PROGRESS`` that closes it,
    lets each through once, and drops those of a writer whose claim is not the latest.

    Attributes
    ----------
    closed : int
        The last sequence that a PROGRESS has closed.
    progress : Progress
        What that PROGRESS said.
    batch_last : int
        The last sequence of the batch layer's own messages; the speed layer's follow, which
        alone have epochs.
    epoch : int or None
        The highest epoch known: the offset of the latest claim; None before the first.
    read_from : int
        Offset of the update topic at which reading began: earlier claims were not seen.
    sure : bool
        False where messages before `read_from` may be gone; the next message tells.
    run : int
        First sequence of the unbroken run that ends with `closed`.
    run_at : int or None
        Offset of the update topic at which that run begins; None before any message.
    gone : int
        Messages that are missing in the state: the topic no longer had them.
    missed_epoch : int or None
        An epoch claimed before `read_from`, if messages of earlier epochs were accepted before
        it was known: the generation must be read again with this epoch.
    counts : Counter of str
        What was dropped or missing: ``orphans`` (never closed, as their sender died),
        ``repeats`` (applied already), ``stale_writer`` and ``gaps``.
    """

    closed: int = 0
    progress: Progress = field(default_factory=Progress)
    batch_last: int = 0
    epoch: int | None = None
    read_from: int = 0
    sure: bool = True
    run: int = 1
    run_at: int | None = None
    gone: int = 0
    missed_epoch: int | None = None
    counts: Counter[str] = field(default_factory=Counter)
    _pending: list[tuple[int, str]] = field(default_factory=list)
    _accepted: bool = False
    # Offsets that the state had, or claimed, when messages were found missing.
    _owed: Progress | None = None

    @property
    def whole(self) -> bool:
        """Whether all messages were read that the state needs beside the bare generation."""
        return self.sure and self.run <= self.progress.since

    @property
    def complete(self) -> bool:
        """Whether it is whole and, if messages were missing before, as far as it was then."""
        return self.whole and self._owed is None

    def claim(self, offset: int) -> None:
        """Take the claim of a writer: what earlier ones have not closed by now counts no more."""
        if self.epoch is None or offset > self.epoch:
            self.epoch = offset
            self._drop_pending()

    def lose(self, offset: int) -> None:
        """Note that records before `offset` were gone before they could be read."""
        self.read_from, self.sure, self._accepted = offset, False, False

    def accept(self, message: Message, offset: int) -> list[str]:
        """Take one ``UP`` or ``PROGRESS`` and return the payloads that may now be applied.

        Parameters
        ----------
        message : Message
            A stamped one, of this generation.
        offset : int
            Of its record on the update topic.

        Raises
        ------
        MessageError
            If a PROGRESS cannot be read, or its epoch is none that could be claimed.
        """
        assert message.stamp is not None
        sequence = message.stamp.sequence
        if sequence > self.batch_last and self._is_stale(message.stamp, offset):
            self.counts["stale_writer"] += 1
            return []
        if sequence <= self.closed:
            self.counts["repeats"] += 1
            return []
        progress = None if message.key == UP else Progress.from_value(message.value)
        while self._pending and self._pending[-1][0] >= sequence:
            self._pending.pop()
            self.counts["orphans"] += 1
        self.run_at = offset if self.run_at is None else self.run_at
        if progress is None:
            self._pending.append((sequence, message.value))
            return []
        return self._close(sequence, progress, offset)

    def _is_stale(self, stamp: Stamp, offset: int) -> bool:
        epoch = stamp.epoch
        if epoch is not None and epoch >= offset:
            text = f"epoch {epoch} cannot have been claimed before offset {offset}"
            raise MessageError(text)
        if epoch is not None and (self.epoch is None or epoch > self.epoch):
            if epoch < self.read_from and self._accepted:
                self.missed_epoch = epoch
            self.epoch = epoch
            self._drop_pending()
        stale = epoch != self.epoch
        self._accepted = self._accepted or not stale
        return stale

    def _drop_pending(self) -> None:
        """Drop what the speed layer has not closed; what the batch layer sends has no epoch."""
        while self._pending and self._pending[-1][0] > self.batch_last:
            self._pending.pop()
            self.counts["orphans"] += 1

    def _close(self, sequence: int, progress: Progress, offset: int) -> list[str]:
        missing = sequence - self.closed - 1 - len(self._pending)
        if missing:
            self.run, self.run_at = self._after_the_last_gap(sequence), offset
        self.closed, self.progress, self.sure = sequence, progress, True
        if self.run > progress.since:
            self.gone += missing
            self.counts["gaps"] += missing
            self._owed = progress
        elif self._owed is not None and covers(progress, self._owed):
            self._owed = None
        if self.complete:
            self.gone = 0
        ready = [value for _, value in self._pending]
        self._pending.clear()
        return ready

    def _after_the_last_gap(self, sequence: int) -> int:
        numbers = [self.closed, *(number for number, _ in self._pending), sequence]
        return [after for before, after in pairwise(numbers) if after > before + 1][-1]


def covers(progress: Progress, other: Progress) -> bool:
    """Whether a progress is at least as far as another; offsets of another topic do not count."""
    if progress.topic_id != other.topic_id:
        return True
    return all(progress.offsets.get(p, 0) >= at for p, at in other.offsets.items())


def reached(
    cut: Mapping[int, int], topic_id: str | None, progress: Progress
) -> tuple[str | None, dict[int, int]]:
    """Return up to which offsets of which input topic a model holds the events.

    It is its cut, or the progress beyond it; offsets of different topics are not compared.

    Parameters
    ----------
    cut : mapping of int to int
        Offsets up to which it was trained.
    topic_id : str or None
        Of the topic of the cut.
    progress : Progress
        Of the last micro-batch.
    """
    found = progress.topic_id
    if found is not None and topic_id is not None and found != topic_id:
        return found, dict(progress.offsets)
    partitions = cut.keys() | progress.offsets.keys()
    offsets = {p: max(cut.get(p, 0), progress.offsets.get(p, 0)) for p in partitions}
    return found or topic_id, offsets
