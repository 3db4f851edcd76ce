"""Reads the history's rows on the driver directly from the Delta table's Parquet files."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from batch_layer.api import through_spark

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

log = logging.getLogger(__name__)

Item = TypeVar("Item")
Result = TypeVar("Result")

#: What is read of a file, as it has to be there.
_TYPES = {
    "topic_id": pa.string(),
    "partition": pa.int32(),
    "offset": pa.int64(),
    "timestamp": pa.int64(),
    "value": pa.string(),
}


#: Returns columns of a frame's rows; see :class:`batch_layer.api.BatchContext`.
RowReader = Callable[["DataFrame", Sequence[str]], Iterator[pa.RecordBatch]]


class FileReader:
    """Reads parts of one version of the history by Arrow, many times faster than through Spark.

    The rows of a version are a subset of the rows in its files; if both have the same number of
    rows, they are equal.  Arrow reads the files if they are on this machine, have the expected
    columns, and hold exactly as many rows as Spark counts.  Otherwise Spark reads the rows.

    Parameters
    ----------
    table : DataFrame
        One version of the table.
    n_rows : int
        Number of its rows, counted by Spark.
    frames : sequence of (DataFrame, Expression)
        The frames that may be asked for, and which of the table's rows each holds.
    otherwise : callable
        Reads what the files cannot stand for.
    """

    def __init__(
        self,
        table: DataFrame,
        n_rows: int,
        frames: Sequence[tuple[DataFrame, pc.Expression]],
        otherwise: RowReader = through_spark,
    ) -> None:
        self._table = table
        self._n_rows = n_rows
        self._frames = frames
        self._otherwise = otherwise

    def __call__(self, rows: DataFrame, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Return columns of a DataFrame's rows; see :class:`batch_layer.api.BatchContext`."""
        for frame, condition in self._frames:
            if frame is rows and self._files is not None:
                return _matching(self._files, condition, list(columns))
        return self._otherwise(rows, columns)

    @cached_property
    def _files(self) -> ds.Dataset | None:
        """The table's files; None if they cannot be read in place of the table."""
        try:
            files = ds.dataset(list(_local(self._table.inputFiles())), format="parquet")
            _check(files, self._n_rows)
        except (OSError, LookupError, ValueError, pa.ArrowException) as error:
            log.info("Spark reads the history: %s", error)
            return None
        return files


def in_threads(
    work: Callable[[Item], Result], items: Iterable[Item], n_threads: int
) -> Iterator[Result]:
    """Work on items in threads, as on batches of rows that are read, and return results in order.

    Items are taken as threads become free for them, so that few are in memory at once.

    Parameters
    ----------
    work : callable
        Releases Python's lock for most of its time.
    items : iterable
        What is worked on.
    n_threads : int
        How many items at once.
    """
    with ThreadPoolExecutor(n_threads) as pool:
        waiting: deque[Future[Result]] = deque()
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > n_threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _matching(
    files: ds.Dataset, condition: pc.Expression, columns: list[str]
) -> Iterator[pa.RecordBatch]:
    """Return the rows that meet a condition, row group by row group.

    The statistics of most row groups show that all or none of their rows meet it.  Other groups
    are filtered, which costs more than reading: it reads further columns and copies the rows.
    """
    for file in files.get_fragments():
        for group in file.split_by_row_group(condition):
            is_mixed = len(group.subset(~condition).row_groups) > 0
            rows = condition if is_mixed else None
            yield from group.to_batches(schema=files.schema, columns=columns, filter=rows)


def _local(files: Iterable[str]) -> Iterator[str]:
    """Yield the paths in Delta's file names; raises ValueError if a file is not on this machine."""
    for name in files:
        # The name is not a URI: the path has no escapes.
        scheme, _, path = name.partition(":")
        if scheme != "file":
            message = f"{name} is not on this machine"
            raise ValueError(message)
        yield path


def _check(files: ds.Dataset, n_rows: int) -> None:
    """Raise LookupError or ValueError if the files lack a column or have other than `n_rows`."""
    for file in files.get_fragments():
        for name, kind in _TYPES.items():
            actual_type = file.physical_schema.field(name).type
            if actual_type != kind:
                message = f"{file.path}: {name} is {actual_type}, not {kind}"
                raise ValueError(message)
    n_in_files = files.count_rows()
    if n_in_files != n_rows:
        message = f"its files hold {n_in_files} rows, and {n_rows} count: some have been deleted"
        raise ValueError(message)
