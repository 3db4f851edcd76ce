"""Splits the history at a cut into new data and the past data of the parent generation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow.compute as pc
from pyspark.sql import functions as F

from batch_layer.api import through_spark
from batch_layer.history.files import FileReader, RowReader
from batch_layer.history.table import COLUMNS

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

#: The columns that families get.
EVENT_COLUMNS = COLUMNS[1:]


@dataclass(frozen=True)
class HistorySplit:
    """The rows of the history on both sides of a cut.

    Attributes
    ----------
    new, past : DataFrame, DataFrame or None
        Rows at or after the cut, and rows before it (None if there are none).
    n_new, n_past : int
        Their numbers.
    data_range : (int, int)
        Oldest and newest Kafka timestamp (ms) of all rows; (0, 0) if there are none.
    read : FileReader
        Reads either side on the driver.
    """

    new: DataFrame
    past: DataFrame | None
    n_new: int
    n_past: int
    data_range: tuple[int, int]
    read: FileReader


def split_history(
    rows: DataFrame,
    topic_id: str,
    cut: Mapping[int, int],
    otherwise: RowReader = through_spark,
) -> HistorySplit:
    """Split a version of the history by a cut of a topic, and count both sides in one pass.

    What cannot be read from the table's files is read by `otherwise`.
    """
    is_new = at_or_after(topic_id, cut, F.col)
    counts = rows.groupBy(is_new.alias("new")).agg(
        F.count("*").alias("rows"),
        F.min("timestamp").alias("old"),
        F.max("timestamp").alias("young"),
    )
    sides = {row["new"]: row for row in counts.collect()}
    n_new, n_past = (sides[side]["rows"] if side in sides else 0 for side in (True, False))
    oldest = min((row["old"] for row in sides.values()), default=0)
    newest = max((row["young"] for row in sides.values()), default=0)
    new, past = (rows.where(side).select(*EVENT_COLUMNS) for side in (is_new, ~is_new))
    in_files = at_or_after(topic_id, cut, pc.field)
    read = FileReader(rows, n_new + n_past, ((new, in_files), (past, ~in_files)), otherwise)
    return HistorySplit(new, past if n_past else None, n_new, n_past, (oldest, newest), read)


def at_or_after(topic_id: str, cut: Mapping[int, int], column: Callable[[str], Any]) -> Any:
    """Return the condition that a row lies at or after a topic's cut.

    Rows of other topics lie before every cut: they are from before the topic was recreated.

    Parameters
    ----------
    topic_id : str
        Id of the cut's topic.
    cut : mapping of int to int
        For each partition the first offset after the cut.
    column : callable
        Returns the column expression of a name, of Spark or of Arrow.
    """
    condition = column("topic_id") == topic_id
    for partition, offset in cut.items():
        condition &= ~((column("partition") == partition) & (column("offset") < offset))
    return condition
