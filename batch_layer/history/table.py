"""The history: every good event, once, in one Delta table per app.

Each commit's own metadata says up to which offsets of which topic the table is complete, so
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
#: A time (ms) after every event.
END_OF_TIME = 2**63 - 1
#: Small files beyond this number are merged.
MAX_FILES = 100
_USER_METADATA = "spark.databricks.delta.commitInfo.userMetadata"
_CHECK_RETENTION = "spark.databricks.delta.retentionDurationCheck.enabled"


@dataclass(frozen=True)
class SourceOffsets:
    """Up to where the history holds a topic.

    Attributes
    ----------
    topic : str
        Its name; empty where it is not known.
    topic_id : str
        The broker's identity of it.
    offsets : mapping of int to int
        For each partition the first offset that the history does not hold yet.
    """

    topic: str
    topic_id: str
    offsets: Mapping[int, int]

    def to_metadata(self) -> str:
        """Return the JSON that a commit carries."""
        offsets = {str(partition): at for partition, at in sorted(self.offsets.items())}
        return json.dumps(
            {"gemsbok": 1, "topic": self.topic, "topic_id": self.topic_id, "offsets": offsets}
        )

    @classmethod
    def from_metadata(cls, text: str | None) -> SourceOffsets | None:
        """Read a commit's metadata; None where it is not ours."""
        try:
            found = json.loads(text or "")
            offsets = {int(partition): int(at) for partition, at in found["offsets"].items()}
            return cls(found["topic"], found["topic_id"], offsets)
        except (ValueError, TypeError, KeyError, AttributeError):
            return None


class History:
    """One app's table.

    Parameters
    ----------
    spark : SparkSession
        A session with Delta Lake.
    path : str
        Folder or URI of the table; :meth:`create` makes it.
    """

    def __init__(self, spark: SparkSession, path: str) -> None:
        self.path = path
        self.spark = spark
        self._table = f"delta.`{path}`"

    def create(self) -> bool:
        """Make the table; False if there is one."""
        jvm = self.spark.sparkContext._jvm
        assert jvm is not None
        # Asking Delta itself saves the seconds that a first SQL statement takes.
        if jvm.io.delta.tables.DeltaTable.isDeltaTable(self.spark._jsparkSession, self.path):
            return False
        # Lines need no statistics; what is asked about stands before them.
        self.spark.sql(
            f"CREATE TABLE {self._table} ({SCHEMA}) USING delta "
            "TBLPROPERTIES ('delta.dataSkippingNumIndexedCols' = '4')"
        )
        return True

    def complete(self) -> SourceOffsets | None:
        """Return up to where the table is complete; None where it has never held anything.

        Commits of other tools carry nothing of ours: then the newest that does counts.  Where
        none is left, the rows themselves say it.
        """
        for limit in ("LIMIT 1", ""):
            commits = self.spark.sql(f"DESCRIBE HISTORY {self._table} {limit}")
            for row in commits.select("version", "userMetadata").orderBy("version").collect()[::-1]:
                found = SourceOffsets.from_metadata(row["userMetadata"])
                if found is not None:
                    return found
        return self._complete_by_rows()

    def append(self, rows: DataFrame, complete: SourceOffsets) -> None:
        """Add rows, and say with the same commit that the table is now `complete`.

        Parameters
        ----------
        rows : DataFrame
            The columns of :data:`SCHEMA`.
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
        """Return the table, as it was at a version or as it is."""
        reader = self.spark.read.format("delta")
        if version is not None:
            reader = reader.option("versionAsOf", version)
        return reader.load(self.path)

    def version(self) -> int:
        """Return the Delta version of the table."""
        newest = self.spark.sql(f"DESCRIBE HISTORY {self._table} LIMIT 1").first()
        assert newest is not None  # A table has a first commit.
        return int(newest["version"])

    def data_range(self) -> tuple[int, int] | None:
        """Return the oldest and newest Kafka timestamp (ms); None where there are no rows."""
        row = self.spark.sql(f"SELECT min(timestamp), max(timestamp) FROM {self._table}").first()
        return None if row is None or row[0] is None else (row[0], row[1])

    def age(self, before: int) -> bool:
        """Remove the rows older than `before` (ms since 1970), from disk too.

        Returns
        -------
        bool
            False where there were none.
        """
        span = self.data_range()
        if span is None or span[0] >= before:
            return False
        with self._carrying(self.complete()):
            self.spark.sql(f"DELETE FROM {self._table} WHERE timestamp < {before}")
        # Delta keeps removed files for readers of older versions; past their age they must go.
        self._vacuum(hours=0)
        return True

    def compact(self, max_files: int = MAX_FILES) -> bool:
        """Merge small files where there are more than `max_files`; False where there are not."""
        detail = self.spark.sql(f"DESCRIBE DETAIL {self._table}").first()
        assert detail is not None
        if detail["numFiles"] <= max_files:
            return False
        with self._carrying(self.complete()):
            self.spark.sql(f"OPTIMIZE {self._table}").collect()
        self._vacuum(hours=168)
        return True

    def _vacuum(self, hours: int) -> None:
        # There is one writer, and it is here: Delta's fear of a running one does not apply.
        self.spark.conf.set(_CHECK_RETENTION, "false")
        self.spark.sql(f"VACUUM {self._table} RETAIN {hours} HOURS")

    @contextmanager
    def _carrying(self, complete: SourceOffsets | None) -> Iterator[None]:
        """Let every commit in this block say what the commits before it said."""
        if complete is not None:
            self.spark.conf.set(_USER_METADATA, complete.to_metadata())
        try:
            yield
        finally:
            self.spark.conf.unset(_USER_METADATA)

    def _complete_by_rows(self) -> SourceOffsets | None:
        found = self.spark.sql(
            "SELECT topic_id, partition, max(offset) + 1 AS next, max(timestamp) AS newest "
            f"FROM {self._table} GROUP BY topic_id, partition"
        ).collect()
        if not found:
            return None
        topic_id = max(found, key=lambda row: row["newest"])["topic_id"]
        offsets = {row["partition"]: row["next"] for row in found if row["topic_id"] == topic_id}
        return SourceOffsets("", topic_id, offsets)
