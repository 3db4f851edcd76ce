"""The order of a generation's messages: each once, from one writer, and none missing unseen."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.replica.sequences import SequenceLog, covers, reached
from common.wire.messages import PROGRESS, UP, Message, MessageError, Progress, Stamp


def up(sequence: int, value: str = "", epoch: int | None = None) -> Message:
    return Message(UP, value or str(sequence), Stamp(1, sequence, epoch=epoch))


def closing(sequence: int, offset: int = 0, epoch: int | None = None, since: int = 1) -> Message:
    progress = Progress({0: offset}, since=since)
    return Message(PROGRESS, progress.to_value(), Stamp(1, sequence, epoch=epoch))


@dataclass
class Topic:
    """What lies on the update topic, as (offset, message); None is a claim."""

    records: list[tuple[int, Message | None]] = field(default_factory=list)

    def claim(self) -> int:
        self.records.append((len(self.records), None))
        return len(self.records) - 1

    def send(self, *messages: Message) -> None:
        for message in messages:
            self.records.append((len(self.records), message))

    def read(self, first: int = 0, **log: int) -> tuple[SequenceLog, list[str]]:
        """Read as a reader that begins at an offset."""
        found, applied = SequenceLog(read_from=first, **log), []
        for offset, message in self.records[first:]:
            if message is None:
                found.claim(offset)
            else:
                applied += found.accept(message, offset)
        return found, applied


def read(*messages: Message, log: SequenceLog | None = None) -> tuple[SequenceLog, list[str]]:
    """What a log lets through."""
    log = log or SequenceLog()
    return log, [value for at, message in enumerate(messages) for value in log.accept(message, at)]


class TestOnce:
    def test_updates_count_from_the_progress_that_closes_them(self) -> None:
        log, applied = read(up(1), up(2))
        assert applied == []
        assert read(closing(3, offset=9), log=log)[1] == ["1", "2"]
        assert log.progress.offsets == {0: 9}
        assert log.closed == 3

    def test_a_replay_changes_nothing(self) -> None:
        messages = [up(1), up(2), closing(3)]
        log, first = read(*messages)
        assert first == ["1", "2"]
        assert read(*messages, log=log)[1] == []
        assert log.counts["repeats"] == 3

    def test_what_a_killed_sender_left_open_is_dropped(self) -> None:
        log, _ = read(up(1), closing(2), up(3, "dead"), up(4, "dead"), up(5, "dead"))
        assert read(up(3, "alive"), log=log)[1] == []
        assert read(closing(4), log=log)[1] == ["alive"]
        assert log.counts["orphans"] == 3
        assert log.gone == 0
        assert log.complete

    @given(st.lists(st.integers(0, 4), min_size=1, max_size=8), st.data())
    def test_any_number_of_deaths_leaves_each_micro_batch_once(
        self, sizes: list[int], data: st.DataObject
    ) -> None:
        topic, sequence = Topic(), 1
        for number, size in enumerate(sizes):
            sent = [up(sequence + i, f"{number}:{i}") for i in range(size)]
            topic.send(*sent[: data.draw(st.integers(0, size))])
            topic.send(*sent, closing(sequence + size))
            sequence += size + 1
        log, applied = topic.read()
        assert applied == [f"{n}:{i}" for n, size in enumerate(sizes) for i in range(size)]
        assert log.complete


class TestWriters:
    """A4 and D1: two writers on one topic."""

    def test_the_older_of_two_writers_is_dropped_and_counted(self) -> None:
        topic = Topic()
        a = topic.claim()
        topic.send(up(1, "a1", a), closing(2, 5, a))
        topic.send(up(3, "a2", a))  # and then it is stopped
        b = topic.claim()
        topic.send(up(3, "b2", b), closing(4, 9, b))
        topic.send(closing(4, 6, a), up(5, "a3", a), closing(6, 99, a))  # it goes on
        topic.send(up(5, "b3", b), closing(6, 12, b))
        log, applied = topic.read()
        assert applied == ["a1", "b2", "b3"]
        assert log.progress.offsets == {0: 12}
        assert log.counts["stale_writer"] == 3
        assert log.counts["orphans"] == 1
        assert log.complete

    def test_what_a_writer_without_a_claim_sends_counts_until_there_is_one(self) -> None:
        topic = Topic()
        topic.send(up(1, "old"), closing(2))
        epoch = topic.claim()
        topic.send(up(3, "old"), closing(4), up(3, "new", epoch), closing(4, 1, epoch))
        log, applied = topic.read()
        assert applied == ["old", "new"]
        assert log.counts["stale_writer"] == 2

    def test_what_the_batch_layer_sends_has_no_epoch(self) -> None:
        topic = Topic()
        topic.send(up(1, "first"))
        epoch = topic.claim()
        topic.send(up(2, "second"), closing(3), up(4, "speed", epoch), closing(5, 1, epoch))
        log, applied = topic.read(batch_last=3)
        assert applied == ["first", "second", "speed"]
        assert log.counts["stale_writer"] == log.counts["orphans"] == 0

    def test_an_epoch_that_nobody_can_have_claimed_is_bad(self) -> None:
        with pytest.raises(MessageError, match="cannot have been claimed"):
            SequenceLog().accept(up(1, epoch=7), 7)

    def test_a_reader_that_did_not_see_the_claim_finds_out(self) -> None:
        topic = Topic()
        a, b = topic.claim(), topic.claim()
        topic.send(up(1, "a", a), closing(2, 5, a), up(1, "b", b), closing(2, 5, b))
        whole, applied = topic.read()
        assert (applied, whole.missed_epoch) == (["b"], None)
        late, applied = topic.read(first=2)
        assert (applied, late.missed_epoch) == (["a"], b)
        again, applied = topic.read(first=2, epoch=b)
        assert (applied, again.missed_epoch) == (["b"], None)

    @given(st.lists(st.tuples(st.integers(0, 2), st.booleans()), max_size=30), st.data())
    def test_readers_hold_what_the_writer_holds_that_has_the_last_word(
        self, steps: list[tuple[int, bool]], data: st.DataObject
    ) -> None:
        """Three writers claim and write in any order, each as far as it has read the topic."""
        topic = Topic()
        epochs: dict[int, int] = {}
        for writer in data.draw(st.lists(st.integers(0, 2), max_size=3)):
            epochs[writer] = topic.claim()
        # The generation's messages begin after these claims, and so do its readers.
        first = len(topic.records)
        known = dict.fromkeys(range(3), 0)
        held: dict[int, list[str]] = {writer: [] for writer in range(3)}

        def read() -> tuple[SequenceLog, list[str]]:
            log, applied = topic.read(first)
            while log.missed_epoch is not None:
                log, applied = topic.read(first, epoch=log.missed_epoch)
            return log, applied

        def claim(writer: int) -> None:
            epochs[writer] = topic.claim()
            log, held[writer] = read()
            known[writer] = log.closed

        def write(writer: int, number: int) -> None:
            at, epoch, value = known[writer], epochs[writer], f"{writer}:{number}"
            topic.send(up(at + 1, value, epoch), closing(at + 2, number, epoch))
            known[writer] = at + 2
            held[writer].append(value)

        for number, (writer, claims) in enumerate([*steps, (0, not epochs)]):
            if claims or writer not in epochs:
                claim(writer)
            write(writer, number)
        holder = max(epochs, key=epochs.__getitem__)
        write(holder, 99)
        log, applied = read()
        assert applied == held[holder]
        assert log.progress.offsets == {0: 99}


class TestWhole:
    """A3 and D2: messages that are gone."""

    def test_a3_a_gap_at_the_beginning_is_never_complete(self) -> None:
        log, applied = read(up(1001), closing(1002))
        assert applied == ["1001"]
        assert not log.complete
        assert log.gone == log.counts["gaps"] == 1000
        read(up(1003), closing(1004), log=log)
        assert not log.complete

    def test_a_gap_in_the_middle_is_not_complete_either(self) -> None:
        log, _ = read(up(1), closing(2), closing(9))
        assert not log.complete
        assert log.gone == 6

    def test_a_refold_makes_it_whole_once_it_has_come_as_far(self) -> None:
        log, _ = read(up(8), closing(9, offset=50))
        assert not log.complete
        read(closing(20, offset=10, since=20), log=log)
        assert not log.complete
        read(up(21), closing(22, offset=50, since=20), log=log)
        assert log.complete
        assert log.gone == 0

    def test_a_reader_that_missed_nothing_stays_complete_over_a_refold(self) -> None:
        log, _ = read(up(1), closing(2, offset=50))
        read(up(20), log=log)
        assert log.complete
        read(closing(21, offset=10, since=20), log=log)
        assert log.complete
        assert log.counts["gaps"] == 0

    def test_a_refold_whose_beginning_is_gone_is_not_complete(self) -> None:
        log, _ = read(closing(22, since=20))
        assert not log.complete

    def test_what_is_not_sure_is_not_complete_until_a_message_tells(self) -> None:
        log = SequenceLog(sure=False)
        assert not log.complete
        assert read(up(1), closing(2), log=log)[0].complete
        assert not read(closing(9), log=SequenceLog(sure=False))[0].complete

    def test_lost_records_may_have_held_nothing_of_it(self) -> None:
        log, _ = read(up(1), closing(2))
        log.lose(700)
        assert not log.complete
        assert read(up(3), closing(4), log=log)[0].complete
        log.lose(900)
        assert not read(closing(9), log=log)[0].complete


def test_reached_is_the_cut_or_the_progress_beyond_it() -> None:
    assert reached({0: 5, 1: 2}, "t", Progress({1: 7, 2: 1})) == ("t", {0: 5, 1: 7, 2: 1})
    progress = Progress({1: 7, 2: 1}, topic_id="t")
    assert reached({0: 5, 1: 2}, "t", progress) == ("t", {0: 5, 1: 7, 2: 1})


def test_f4_offsets_of_different_topics_are_never_compared() -> None:
    progress = Progress({0: 3}, topic_id="new")
    assert reached({0: 500}, "old", progress) == ("new", {0: 3})
    assert covers(progress, Progress({0: 500}, topic_id="old"))
    assert not covers(progress, Progress({0: 500}, topic_id="new"))
