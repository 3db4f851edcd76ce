"""The history's table: its commits, what they say, its ageing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from batch_layer.history.table import END_OF_TIME, SCHEMA, History, SourceOffsets

pytestmark = pytest.mark.integration

HOUR = 3_600_000


@pytest.fixture
def history(spark: SparkSession, tmp_path: Path) -> History:
    made = History(spark, str(tmp_path / "history"))
    made.create()
    return made


def append(
    history: History, offsets: Sequence[int], next_: Mapping[int, int], topic_id: str = "id"
) -> None:
    """Append rows of partition 0, one hour apart."""
    values = [(topic_id, 0, at, at * HOUR, None, f"line {at}") for at in offsets]
    rows = history.spark.createDataFrame(values, SCHEMA.replace("NOT NULL", ""))
    history.append(rows, SourceOffsets("events", topic_id, next_))


def offsets(history: History) -> list[int]:
    return [row["offset"] for row in history.rows().orderBy("offset").collect()]


def test_rows_and_offsets_are_one_commit(history: History) -> None:
    assert history.complete() is None
    assert history.data_range() is None
    append(history, [0, 1, 2], {0: 3, 1: 0})
    assert history.complete() == SourceOffsets("events", "id", {0: 3, 1: 0})
    assert offsets(history) == [0, 1, 2]
    assert history.data_range() == (0, 2 * HOUR)
    assert history.version() == 1


def test_a_commit_without_rows_still_says_how_far_it_is_complete(history: History) -> None:
    append(history, [0], {0: 1})
    append(history, [], {0: 9})
    assert history.complete() == SourceOffsets("events", "id", {0: 9})
    assert offsets(history) == [0]


def test_commits_of_other_tools_are_passed_over(history: History) -> None:
    append(history, [0, 1], {0: 5})
    history.spark.sql(f"DELETE FROM delta.`{history.path}` WHERE offset = 0")
    assert history.complete() == SourceOffsets("events", "id", {0: 5})


def test_without_any_metadata_the_rows_say_it(history: History) -> None:
    values = [
        ("old", 0, 40, 1, None, "x"),
        ("new", 0, 6, 2, None, "y"),
        ("new", 1, 8, 2, None, "z"),
    ]
    rows = history.spark.createDataFrame(values, SCHEMA.replace("NOT NULL", ""))
    rows.write.format("delta").mode("append").save(history.path)
    assert history.complete() == SourceOffsets("", "new", {0: 7, 1: 9})


def test_ageing_removes_rows_from_disk_and_keeps_what_is_complete(history: History) -> None:
    append(history, [0, 1, 2, 3], {0: 4})
    assert not history.age(0)
    assert history.age(2 * HOUR)
    assert offsets(history) == [2, 3]
    assert history.complete() == SourceOffsets("events", "id", {0: 4})
    assert history.age(END_OF_TIME)
    assert offsets(history) == []
    assert list(Path(history.path).glob("*.parquet")) == []
    assert history.complete() == SourceOffsets("events", "id", {0: 4})


def test_small_files_are_merged(history: History) -> None:
    for at in range(4):
        append(history, [at], {0: at + 1})
    assert not history.compact()
    assert history.compact(max_files=3)
    assert len(history.rows().inputFiles()) == 1
    assert offsets(history) == [0, 1, 2, 3]
    assert history.complete() == SourceOffsets("events", "id", {0: 4})
