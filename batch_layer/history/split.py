"""The history on both sides of a cut: what is new to a generation, and what its parent knew."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow.compute as pc

from batch_layer.api import through_spark
from batch_layer.history.files import FileReader, RowReader
from batch_layer.history.table import COLUMNS

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

#: What a family sees of a row.
EVENT_COLUMNS = COLUMNS[1:]


@dataclass(frozen=True)
class HistorySplit:
    """The rows on either side of a cut.

    Attributes
    ----------
    new, past : DataFrame, DataFrame or None
        Rows that the cut does not cover, and rows that it does; None where there are none.
    n_new, n_past : int
        How many these are.
    data_range : (int, int)
        Oldest and newest Kafka timestamp (ms) of all; (0, 0) where there are no rows.
    read : FileReader
        Brings either side to the driver.
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
    from pyspark.sql import functions as F

    is_new = at_or_after(topic_id, cut, F.col)
    found = rows.groupBy(is_new.alias("new")).agg(
        F.count("*").alias("rows"),
        F.min("timestamp").alias("old"),
        F.max("timestamp").alias("young"),
    )
    sides = {row["new"]: row for row in found.collect()}
    n_new, n_past = (sides[side]["rows"] if side in sides else 0 for side in (True, False))
    oldest = min((row["old"] for row in sides.values()), default=0)
    newest = max((row["young"] for row in sides.values()), default=0)
    new, past = (rows.where(side).select(*EVENT_COLUMNS) for side in (is_new, ~is_new))
    in_files = at_or_after(topic_id, cut, pc.field)
    read = FileReader(rows, n_new + n_past, ((new, in_files), (past, ~in_files)), otherwise)
    return HistorySplit(new, past if n_past else None, n_new, n_past, (oldest, newest), read)


def at_or_after(topic_id: str, cut: Mapping[int, int], column: Callable[[str], Any]) -> Any:
    """Return the condition of rows that a cut of a topic does not cover.

    Rows of other topics are older than any cut: a topic that was made again starts anew.

    Parameters
    ----------
    topic_id : str
        The topic of the cut.
    cut : mapping of int to int
        For each partition the first offset that it does not cover.
    column : callable
        Makes a column of its name: of Spark, or of Arrow.
    """
    found = column("topic_id") == topic_id
    for partition, offset in cut.items():
        found &= ~((column("partition") == partition) & (column("offset") < offset))
    return found
