"""The history on both sides of a cut, by Spark and straight from its files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from pyspark.sql import DataFrame, SparkSession

from batch_layer.api import through_spark
from batch_layer.history.files import FileReader
from batch_layer.history.split import HistorySplit, at_or_after, split_history
from batch_layer.history.table import SCHEMA, History, SourceOffsets

HOUR = 3_600_000
COLUMNS = ("partition", "offset", "timestamp", "value")


@pytest.fixture(scope="module")
def history(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> History:
    """Two commits of an older topic and four of the newer, in two partitions."""
    # Characters that would mean something else in a URI.
    made = History(spark, str(tmp_path_factory.mktemp("a folder of 100%25 #1") / "history"))
    made.create()
    for topic, n_commits in (("older", 2), ("id", 4)):
        for commit in range(n_commits):
            values = [
                (topic, partition, at, at * HOUR, None, f"{topic} {partition} {at}")
                for partition in range(2)
                for at in range(3 * commit, 3 * commit + 3)
            ]
            rows = spark.createDataFrame(values, SCHEMA.replace("NOT NULL", ""))
            made.append(
                rows, SourceOffsets("events", topic, dict.fromkeys(range(2), 3 * commit + 3))
            )
    return made


class SparkReads(list[DataFrame]):
    """Reads frames through Spark, and has them all."""

    def __call__(self, rows: DataFrame, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        self.append(rows)
        return through_spark(rows, columns)


@pytest.fixture
def spark_reads() -> SparkReads:
    return SparkReads()


def rows_of(batches: Iterator[pa.RecordBatch]) -> list[tuple[Any, ...]]:
    return sorted(tuple(row.values()) for batch in batches for row in batch.to_pylist())


def values(split: HistorySplit) -> tuple[set[str], set[str]]:
    """Return the new and the past values, after a look whether Spark reads the same rows."""
    found = []
    for frame in (split.new, split.past):
        rows = [] if frame is None else rows_of(split.read(frame, COLUMNS))
        assert frame is None or rows == rows_of(through_spark(frame, COLUMNS))
        found.append({row[-1] for row in rows})
        assert len(found[-1]) == len(rows)
    assert (len(found[0]), len(found[1])) == (split.n_new, split.n_past)
    return found[0], found[1]


@pytest.mark.integration
@pytest.mark.parametrize(
    ("cut", "n_new"), [({}, 24), ({0: 4}, 20), ({0: 4, 1: 12}, 8), ({0: 12, 1: 12}, 0)]
)
def test_a_cut_splits_the_rows_and_other_topics_lie_before_it(
    history: History, spark_reads: SparkReads, cut: Mapping[int, int], n_new: int
) -> None:
    split = split_history(history.rows(), "id", cut, spark_reads)
    assert (split.n_new, split.n_past) == (n_new, 36 - n_new)
    assert split.data_range == (0, 11 * HOUR)
    new, past = values(split)
    assert new == {
        f"id {partition} {at}" for partition in range(2) for at in range(cut.get(partition, 0), 12)
    }
    assert past >= {f"older {partition} {at}" for partition in range(2) for at in range(6)}
    assert not spark_reads


@pytest.mark.integration
def test_a_version_s_rows_are_read_though_newer_ones_are_there(
    history: History, spark_reads: SparkReads
) -> None:
    split = split_history(history.rows(version=3), "id", {0: 1, 1: 1}, spark_reads)
    new, _ = values(split)
    assert new == {"id 0 1", "id 0 2", "id 1 1", "id 1 2"}
    assert split.n_past == 14
    assert not spark_reads


@pytest.mark.integration
def test_another_frame_is_read_through_spark(history: History, spark_reads: SparkReads) -> None:
    split = split_history(history.rows(), "id", {}, spark_reads)
    other = split.new.where("offset = 5")
    assert rows_of(split.read(other, ("value",))) == [("id 0 5",), ("id 1 5",)]
    assert spark_reads == [other]


@pytest.mark.integration
def test_aged_and_deleted_rows_are_not_read(
    spark: SparkSession, tmp_path: Path, spark_reads: SparkReads
) -> None:
    history = History(spark, str(tmp_path / "history"))
    history.create()
    values_ = [("id", 0, at, at * HOUR, None, str(at)) for at in range(10)]
    rows = spark.createDataFrame(values_, SCHEMA.replace("NOT NULL", ""))
    history.append(rows.coalesce(1), SourceOffsets("events", "id", {0: 10}))
    before = split_history(history.rows(), "id", {0: 5}, spark_reads)
    history.age(3 * HOUR)
    aged = split_history(history.rows(), "id", {0: 5}, spark_reads)
    assert values(aged) == ({"5", "6", "7", "8", "9"}, {"3", "4"})
    assert not spark_reads
    # Deleted rows that stay in their file, marked: Spark alone knows them.
    spark.sql(
        f"ALTER TABLE delta.`{history.path}` "
        "SET TBLPROPERTIES ('delta.enableDeletionVectors' = true)"
    )
    spark.sql(f"DELETE FROM delta.`{history.path}` WHERE offset IN (4, 7)")
    marked = split_history(history.rows(), "id", {0: 5}, spark_reads)
    assert values(marked) == ({"5", "6", "8", "9"}, {"3"})
    assert spark_reads == [marked.new, marked.past]
    assert before.n_new + before.n_past == 10


class Table:
    """Stands for a frame in files."""

    def __init__(self, *uris: str) -> None:
        self.inputFiles = lambda: list(uris)
        self.n_read = 0

    def select(self, *_: str) -> Table:
        return self

    def toArrow(self) -> pa.Table:
        self.n_read += 1
        return pa.table({"value": ["through Spark"]})


@pytest.mark.parametrize(
    ("uri", "why"),
    [
        ("s3a://bucket/part-0.parquet", "not on this machine"),
        ("file:/nowhere/part-0.parquet", "/nowhere/part-0.parquet"),
        ("file:{folder}/text.parquet", "text.parquet"),
        ("file:{folder}/other.parquet", "offset"),
        ("file:{folder}/kind.parquet", "partition is int64, not int32"),
    ],
)
def test_spark_reads_what_is_elsewhere_or_other_than_it_should_be(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, uri: str, why: str
) -> None:
    (tmp_path / "text.parquet").write_text("not Parquet")
    names = ("topic_id", "partition", "offset", "timestamp", "value")
    row = {name: ["0"] if name in ("topic_id", "value") else [0] for name in names}
    pq.write_table(pa.table(row), tmp_path / "kind.parquet")
    pq.write_table(
        pa.table({"topic_id": ["0"], "partition": pa.array([0], pa.int32())}),
        tmp_path / "other.parquet",
    )
    table = cast(Any, Table(uri.format(folder=tmp_path)))
    with caplog.at_level("INFO"):
        found = rows_of(FileReader(table, 1, ((table, None),))(table, ("value",)))
    assert found == [("through Spark",)]
    assert table.n_read == 1
    assert "Spark reads the history" in caplog.text
    assert why in caplog.text


@pytest.mark.parametrize("statistics", [True, False])
@pytest.mark.parametrize("cut", [{}, {0: 10}, {0: 15}, {0: 40}])
def test_a_file_s_rows_are_the_same_whatever_its_statistics_say(
    tmp_path: Path, cut: Mapping[int, int], statistics: bool
) -> None:
    path = tmp_path / "part-0.parquet"
    offsets = range(40)
    table = pa.table(
        {
            "topic_id": ["id"] * 40,
            "partition": pa.array([0] * 40, pa.int32()),
            "offset": pa.array(offsets),
            "timestamp": pa.array(offsets),
            "value": [str(at) for at in offsets],
        }
    )
    pq.write_table(table, path, row_group_size=10, write_statistics=statistics)
    new, past = (cast(Any, Table(f"file:{path}")) for _ in range(2))
    condition = at_or_after("id", cut, pc.field)
    read = FileReader(new, 40, ((new, condition), (past, ~condition)))
    first = cut.get(0, 0)
    for frame, expected in ((new, offsets[first:]), (past, offsets[:first])):
        found = [row[0] for row in rows_of(read(frame, ("offset",)))]
        assert found == list(expected)
    assert new.n_read == past.n_read == 0
