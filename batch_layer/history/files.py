"""The history's rows on the driver, straight from the table's files."""

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
    """Reads frames of a table of history by Arrow, many times faster than Spark hands them over.

    The rows of one version of a Delta table are some of those in its files: of all, if they are
    as many.  So the files are read where they lie on this machine, have the columns that they
    should have, and hold just as many rows as Spark counts.  Where not, Spark reads.

    Parameters
    ----------
    table : DataFrame
        One version of the table.
    n_rows : int
        How many rows Spark counts in it.
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
        """Return columns of a frame's rows; see :class:`batch_layer.api.BatchContext`."""
        for frame, condition in self._frames:
            if frame is rows and self._files is not None:
                return _matching(self._files, condition, list(columns))
        return self._otherwise(rows, columns)

    @cached_property
    def _files(self) -> ds.Dataset | None:
        """The table's files; None where they cannot stand for it."""
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

    Statistics say of most groups that none of their rows or all of them do.  Filtering costs
    more than reading: it reads further columns, and copies the others.
    """
    for file in files.get_fragments():
        for group in file.split_by_row_group(condition):
            in_doubt = len(group.subset(~condition).row_groups) > 0
            rows = condition if in_doubt else None
            yield from group.to_batches(schema=files.schema, columns=columns, filter=rows)


def _local(files: Iterable[str]) -> Iterator[str]:
    """Return files' paths from names as Delta gives them; raises ValueError if one is elsewhere."""
    for name in files:
        # Not a URI: nothing in a path stands for another character.
        scheme, _, path = name.partition(":")
        if scheme != "file":
            message = f"{name} is not on this machine"
            raise ValueError(message)
        yield path


def _check(files: ds.Dataset, n_rows: int) -> None:
    """Raise LookupError or ValueError if files do not hold just these rows in their columns."""
    for file in files.get_fragments():
        for name, kind in _TYPES.items():
            found = file.physical_schema.field(name).type
            if found != kind:
                message = f"{file.path}: {name} is {found}, not {kind}"
                raise ValueError(message)
    n_found = files.count_rows()
    if n_found != n_rows:
        message = f"its files hold {n_found} rows, and {n_rows} count: some have been deleted"
        raise ValueError(message)
