"""Where the ingest starts, and when it must not: no Spark, no broker."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch_layer.history.ingest import starting_point
from batch_layer.history.table import SourceOffsets
from common.broker import TopicInfo
from common.broker.topics import InputLostError, TopicState

INFO = TopicInfo("events", "id-1", 2)


def state(begin: dict[int, int], end: dict[int, int], info: TopicInfo = INFO) -> TopicState:
    return TopicState(info, begin, end)


def test_an_empty_history_starts_at_the_oldest_records() -> None:
    found = starting_point(None, state({0: 5, 1: 0}, {0: 9, 1: 3}), accept_loss=False)
    assert found == SourceOffsets("events", "id-1", {0: 5, 1: 0})


def test_it_goes_on_where_the_history_ends() -> None:
    before = SourceOffsets("events", "id-1", {0: 7, 1: 2})
    found = starting_point(before, state({0: 5, 1: 0}, {0: 9, 1: 3}), accept_loss=False)
    assert found.offsets == {0: 7, 1: 2}


def test_a_partition_that_was_added_is_read_from_its_first_record() -> None:
    before = SourceOffsets("events", "id-1", {0: 7})
    found = starting_point(before, state({0: 5, 1: 0}, {0: 9, 1: 3}), accept_loss=False)
    assert found.offsets == {0: 7, 1: 0}


def test_removed_records_stop_it_with_the_exact_range() -> None:
    before = SourceOffsets("events", "id-1", {0: 7, 1: 2})
    with pytest.raises(InputLostError, match=r"partition 1: offsets 2 to 29\b.*--accept-loss"):
        starting_point(before, state({0: 7, 1: 30}, {0: 9, 1: 40}), accept_loss=False)


def test_removed_records_of_an_added_partition_count_as_lost() -> None:
    before = SourceOffsets("events", "id-1", {0: 7})
    with pytest.raises(InputLostError, match="partition 1: offsets 0 to 3"):
        starting_point(before, state({0: 7, 1: 4}, {0: 9, 1: 9}), accept_loss=False)


def test_accepted_loss_goes_on_at_the_oldest_records_that_are_left() -> None:
    before = SourceOffsets("events", "id-1", {0: 7, 1: 2})
    found = starting_point(before, state({0: 0, 1: 30}, {0: 9, 1: 40}), accept_loss=True)
    assert found.offsets == {0: 7, 1: 30}


def test_a_topic_made_again_stops_it_though_it_is_longer() -> None:
    before = SourceOffsets("events", "id-0", {0: 7})
    now = state({0: 0}, {0: 900})
    with pytest.raises(InputLostError, match=r"made again.*id-0.*id-1.*--accept-loss"):
        starting_point(before, now, accept_loss=False)
    assert starting_point(before, now, accept_loss=True) == SourceOffsets("events", "id-1", {0: 0})


def test_another_topic_name_is_told_apart_from_a_topic_made_again() -> None:
    before = SourceOffsets("clicks", "id-0", {0: 7})
    with pytest.raises(InputLostError, match=r"holds topic 'clicks'.*name is 'events'"):
        starting_point(before, state({0: 0}, {0: 9}), accept_loss=False)


@pytest.mark.parametrize("accept_loss", [False, True])
def test_a_topic_that_was_cut_at_its_end_always_stops_it(accept_loss: bool) -> None:
    before = SourceOffsets("events", "id-1", {0: 7, 1: 2})
    with pytest.raises(InputLostError, match="partition 0: it ends at 4, the history at 7"):
        starting_point(before, state({0: 0, 1: 0}, {0: 4, 1: 2}), accept_loss)


@given(st.text(), st.text(), st.dictionaries(st.integers(0, 999), st.integers(0, 2**62)))
def test_complete_survives_a_commits_metadata(name: str, id_: str, at: dict[int, int]) -> None:
    complete = SourceOffsets(name, id_, at)
    assert SourceOffsets.from_metadata(complete.to_metadata()) == complete


@pytest.mark.parametrize("text", [None, "", "by hand", "[]", "null", '{"offsets": 3}', "{}"])
def test_metadata_of_others_is_passed_over(text: str | None) -> None:
    assert SourceOffsets.from_metadata(text) is None
