"""The Delta table of one app's history, with every valid event exactly once.

The metadata of each commit has the topic and the offsets up to which the table is complete, so
rows and offsets become visible in one atomic write.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

SCHEMA = (
    "topic_id STRING NOT NULL, partition INT NOT NULL, offset BIGINT NOT NULL, "
    "timestamp BIGINT NOT NULL COMMENT 'ms since 1970', key STRING, value STRING NOT NULL"
)
COLUMNS = ("topic_id", "partition", "offset", "timestamp", "key", "value")
#: A time (ms) later than every event.
END_OF_TIME = 2**63 - 1
#: A table with more files is compacted.
MAX_FILES = 100
_USER_METADATA = "spark.databricks.delta.commitInfo.userMetadata"
_CHECK_RETENTION = "spark.databricks.delta.retentionDurationCheck.enabled"


@dataclass(frozen=True)
class SourceOffsets:
    """The offsets up to which the history has the records of a topic.

    Attributes
    ----------
    topic : str
        The topic's name; empty if it is not known.
    topic_id : str
        The broker's id of the topic.
    offsets : mapping of int to int
        For each partition the first offset that is not in the history.
    """

    topic: str
    topic_id: str
    offsets: Mapping[int, int]

    def to_metadata(self) -> str:
        """Return the JSON for a commit's metadata."""
        offsets = {str(partition): offset for partition, offset in sorted(self.offsets.items())}
        return json.dumps(
            {"gemsbok": 1, "topic": self.topic, "topic_id": self.topic_id, "offsets": offsets}
        )

    @classmethod
    def from_metadata(cls, text: str | None) -> SourceOffsets | None:
        """Parse a commit's metadata; None if another tool wrote it."""
        try:
            fields = json.loads(text or "")
            offsets = {
                int(partition): int(offset) for partition, offset in fields["offsets"].items()
            }
            return cls(fields["topic"], fields["topic_id"], offsets)
        except (ValueError, TypeError, KeyError, AttributeError):
            return None


class History:
    """The Delta table with the history of one app.

    Parameters
    ----------
    spark : SparkSession
        A session with Delta Lake.
    path : str
        Folder or URI of the table; created by :meth:`create`.
    """

    def __init__(self, spark: SparkSession, path: str) -> None:
        self.path = path
        self.spark = spark
        self._table = f"delta.`{path}`"

    def create(self) -> bool:
        """Create the table; False if it exists."""
        jvm = self.spark.sparkContext._jvm
        assert jvm is not None
        # Calling Delta directly saves the seconds that the first SQL statement takes.
        if jvm.io.delta.tables.DeltaTable.isDeltaTable(self.spark._jsparkSession, self.path):
            return False
        # Statistics are only for the four columns that are filtered by, not for key and value.
        self.spark.sql(
            f"CREATE TABLE {self._table} ({SCHEMA}) USING delta "
            "TBLPROPERTIES ('delta.dataSkippingNumIndexedCols' = '4')"
        )
        return True

    def complete(self) -> SourceOffsets | None:
        """Return the offsets up to which the table is complete; None if it has never had rows.

        They are read from the newest commit with our metadata, which commits of other tools do
        not have.  If there is no such commit left, they are computed from the rows.
        """
        for limit in ("LIMIT 1", ""):
            commits = self.spark.sql(f"DESCRIBE HISTORY {self._table} {limit}")
            for row in commits.select("version", "userMetadata").orderBy("version").collect()[::-1]:
                offsets = SourceOffsets.from_metadata(row["userMetadata"])
                if offsets is not None:
                    return offsets
        return self._complete_by_rows()

    def append(self, rows: DataFrame, complete: SourceOffsets) -> None:
        """Append rows, and record in the same commit the offsets that are now `complete`.

        Parameters
        ----------
        rows : DataFrame
            Rows with the columns of :data:`SCHEMA`.
        complete : SourceOffsets
            Offsets one past the newest record of each partition, refused lines included.
        """
        (
            rows.select(*COLUMNS)
            .write.format("delta")
            .mode("append")
            .option("userMetadata", complete.to_metadata())
            .save(self.path)
        )

    def rows(self, version: int | None = None) -> DataFrame:
        """Return the table's rows at a version; by default at the newest."""
        reader = self.spark.read.format("delta")
        if version is not None:
            reader = reader.option("versionAsOf", version)
        return reader.load(self.path)

    def version(self) -> int:
        """Return the newest Delta version of the table."""
        newest = self.spark.sql(f"DESCRIBE HISTORY {self._table} LIMIT 1").first()
        assert newest is not None  # A table has a first commit.
        return int(newest["version"])

    def data_range(self) -> tuple[int, int] | None:
        """Return the oldest and newest Kafka timestamp (ms); None if there are no rows."""
        row = self.spark.sql(f"SELECT min(timestamp), max(timestamp) FROM {self._table}").first()
        return None if row is None or row[0] is None else (row[0], row[1])

    def age(self, before: int) -> bool:
        """Remove the rows older than `before` (ms since 1970) from the table and from disk.

        Returns
        -------
        bool
            False if there were none.
        """
        span = self.data_range()
        if span is None or span[0] >= before:
            return False
        with self._metadata(self.complete()):
            self.spark.sql(f"DELETE FROM {self._table} WHERE timestamp < {before}")
        # Delta keeps the removed files for readers of older versions; expired rows must be deleted.
        self._vacuum(hours=0)
        return True

    def compact(self, max_files: int = MAX_FILES) -> bool:
        """Merge small files where there are more than `max_files`; False where there are not."""
        detail = self.spark.sql(f"DESCRIBE DETAIL {self._table}").first()
        assert detail is not None
        if detail["numFiles"] <= max_files:
            return False
        with self._metadata(self.complete()):
            self.spark.sql(f"OPTIMIZE {self._table}").collect()
        self._vacuum(hours=168)
        return True

    def _vacuum(self, hours: int) -> None:
        # Delta refuses short retentions because of concurrent writers; this is the only writer.
        self.spark.conf.set(_CHECK_RETENTION, "false")
        self.spark.sql(f"VACUUM {self._table} RETAIN {hours} HOURS")

    @contextmanager
    def _metadata(self, complete: SourceOffsets | None) -> Iterator[None]:
        """Give every commit in this block the metadata of the previous commits."""
        if complete is not None:
            self.spark.conf.set(_USER_METADATA, complete.to_metadata())
        try:
            yield
        finally:
            self.spark.conf.unset(_USER_METADATA)

    def _complete_by_rows(self) -> SourceOffsets | None:
        ends = self.spark.sql(
            "SELECT topic_id, partition, max(offset) + 1 AS next, max(timestamp) AS newest "
            f"FROM {self._table} GROUP BY topic_id, partition"
        ).collect()
        if not ends:
            return None
        topic_id = max(ends, key=lambda row: row["newest"])["topic_id"]
        offsets = {row["partition"]: row["next"] for row in ends if row["topic_id"] == topic_id}
        return SourceOffsets("", topic_id, offsets)
