"""Input topic → history on a real broker: each record once, the bad ones set aside first."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, cast

import pytest

from batch_layer.history.ingest import Ingest
from common.broker import Broker, BrokerError
from common.broker.topics import InputLostError, MissingTopicError
from tests.stand_in import StandIn

if TYPE_CHECKING:
    from tests.batch_layer.conftest import Place

pytestmark = pytest.mark.integration


def lines(place: Place) -> list[str]:
    return sorted(row["value"] for row in place.rows())


def test_each_record_is_one_row_whatever_happens_in_between(place: Place) -> None:
    place.send(*(f"a w{number}" for number in range(40)))
    assert place.ingest().lines == 40
    info = place.broker.topic(place.topic)
    assert info is not None
    rows = place.rows()
    assert {row["topic_id"] for row in rows} == {info.topic_id}
    assert len({(row["partition"], row["offset"]) for row in rows}) == len(rows) == 40
    assert all(row["timestamp"] > 1_600_000_000_000 for row in rows)
    assert {row["key"] for row in rows} == {str(number) for number in range(40)}

    # Nothing new: nothing is read, and no commit is made.
    version = place.history.version()
    assert place.ingest().lines == 0
    assert place.history.version() == version

    # Another session state, new records, a partition more: only those are added.
    place.add_partitions(3)
    place.send(*(f"b w{number}" for number in range(30)))
    assert place.ingest().lines == 30
    assert len({(row["partition"], row["offset"]) for row in place.rows()}) == 70
    complete = place.history.complete()
    assert complete is not None
    assert complete.offsets == place.broker.end_offsets(place.topic)
    assert {row["partition"] for row in place.rows()} == {0, 1, 2}


def test_many_small_micro_batches_give_the_same_rows(place: Place) -> None:
    place.flags["batch.max_offsets_per_trigger"] = "7"
    place.send(*(f"a w{number}" for number in range(20)))
    assert place.ingest().lines == 20
    assert lines(place) == sorted(f"a w{number}" for number in range(20))
    assert place.history.version() > 2


def test_bad_lines_go_to_the_dead_letter_topic_with_their_coordinates(place: Place) -> None:
    large = "x" * 2000
    place.send("good line", "  ", b"\xff\xfe", large, key="k")
    partition = place.records(place.topic)[0].partition
    ingested = place.ingest()
    assert (ingested.lines, ingested.refused) == (4, 3)
    assert lines(place) == ["good line"]

    letters = place.dead_letters()
    found = [dict(letter.headers) for letter in letters]
    assert [letter.value for letter in letters] == [b"  ", b"\xff\xfe", b""]
    assert [letter.key for letter in letters] == [b"k"] * 3
    assert [headers["offset"] for headers in found] == [b"1", b"2", b"3"]
    for headers in found:
        assert headers["topic"] == place.topic.encode()
        assert headers["partition"] == str(partition).encode()
        assert headers["layer"] == b"batch"
    reasons = [headers["reason"].partition(b":")[0] for headers in found]
    assert reasons == [b"parse", b"parse", b"too_large"]
    assert found[2]["sha256"] == hashlib.sha256(large.encode()).hexdigest().encode()

    # They are read no second time, though no row of the history stands for them.
    assert place.ingest().lines == 0
    assert len(place.dead_letters()) == 3


class Unwritable(StandIn):
    """A broker none of whose producers is answered."""

    def producer(self) -> StandIn:
        return Unanswered(self.other.producer())


class Unanswered(StandIn):
    """A producer whose records are not acknowledged."""

    def flush(self, *_: object) -> None:
        message = "the dead-letter topic takes no records"
        raise BrokerError(message)


def test_an_unwritable_dead_letter_topic_stops_the_layer_and_skips_nothing(place: Place) -> None:
    place.send("good line", "  ")
    unwritable = cast(Broker, Unwritable(place.broker))
    with pytest.raises(BrokerError, match="takes no records"):
        Ingest(place.settings, unwritable, place.history).run()
    assert place.rows() == []
    assert place.ingest().refused == 1
    assert lines(place) == ["good line"]
    assert len({dict(letter.headers)["offset"] for letter in place.dead_letters()}) == 1


def test_a_topic_made_again_stops_it_until_the_loss_is_accepted(place: Place) -> None:
    place.send("a b", "c d", key="k")
    place.ingest()
    place.broker.delete_topic(place.topic)
    place.make_topics()
    place.send("e f", "g h", "i j", key="k")
    with pytest.raises(InputLostError, match="made again"):
        place.ingest()
    assert len(place.rows()) == 2
    assert place.ingest(accept_loss=True).lines == 3
    assert lines(place) == ["a b", "c d", "e f", "g h", "i j"]
    assert place.ingest().lines == 0


def test_removed_records_stop_it_until_the_loss_is_accepted(place: Place) -> None:
    place.send("a b", "c d", key="k")
    place.ingest()
    partition = place.rows()[0]["partition"]
    place.send("e f", "g h", "i j", key="k")
    place.delete_records({partition: 4})
    with pytest.raises(InputLostError, match=f"partition {partition}: offsets 2 to 3\\)"):
        place.ingest()
    assert place.ingest(accept_loss=True).lines == 1
    assert [row["offset"] for row in place.rows()] == [0, 1, 4]


def test_missing_topics_name_the_command_that_makes_them(place: Place) -> None:
    place.broker.delete_topic(f"{place.topic}.dlq")
    with pytest.raises(MissingTopicError, match="topics setup"):
        place.ingest()
