"""Reads examples from the history, on the driver or on executors, and splits them."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import from_arrow_schema

from batch_layer.api import BatchContext
from batch_layer.examples.examples import (
    HELD_OUT,
    LocalExamples,
    SparkExamples,
    TrainingExamples,
    one_batch,
)
from batch_layer.examples.held_out import is_held_out
from batch_layer.history.files import in_threads
from batch_layer.search.training import Split
from common.records.columns import parse
from common.records.schema import InputSchema

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

log = logging.getLogger(__name__)

Engine = Literal["auto", "mllib", "sklearn"]

_COLUMNS = ("partition", "offset", "value")
_IS_NEW = "is_new"


@dataclass(frozen=True)
class Reading:
    """Options for reading examples.

    Attributes
    ----------
    schema : InputSchema
        The features of a line's fields.
    required : frozenset of str
        Features that every example must have.
    engine : {"auto", "mllib", "sklearn"}
        The engine that trains.
    max_cells : int
        Rows times active features up to which ``auto`` takes scikit-learn.
    test_fraction : float
        Share of the new rows to hold out.
    seed : int
        Seed of the split.
    """

    schema: InputSchema
    required: frozenset[str]
    engine: Engine
    max_cells: int
    test_fraction: float
    seed: int

    def on_executors(self, n_events: int) -> bool:
        """Whether MLlib trains on this number of events, rather than scikit-learn."""
        if self.engine == "auto":
            return n_events * len(self.schema.active) > self.max_cells
        return self.engine == "mllib"


def read_examples(
    reading: Reading, context: BatchContext, new_data: DataFrame, past_data: DataFrame | None
) -> Split[TrainingExamples] | None:
    """Read the examples of the history; None if there are none.

    Parameters
    ----------
    reading : Reading
        The options.
    context : BatchContext
        The run's context; ``auto`` chooses the engine by its number of events.
    new_data, past_data : DataFrame
        As in :meth:`batch_layer.api.BatchUpdate.run`; only new data are held out.
    """
    split: Split[TrainingExamples]
    if reading.on_executors(context.n_events):
        split = _on_executors(reading, new_data, past_data)
    else:
        batches = (
            batch.append_column(_IS_NEW, pa.repeat(rows is new_data, len(batch)))
            for rows in (new_data, past_data)
            if rows is not None
            for batch in context.read(rows, _COLUMNS)
        )
        split = _on_driver(reading, batches)
    n_left_out = context.n_events - len(split.everything)
    if n_left_out > 0:
        log.warning(
            "%d lines of the history left out: they are not of this input_schema", n_left_out
        )
    if len(split.everything):
        return split
    split.everything.release()
    return None


def _on_driver(reading: Reading, rows: Iterable[pa.RecordBatch]) -> Split[TrainingExamples]:
    coordinates = ("partition", "offset")
    parts = in_threads(lambda batch: _parsed(batch, reading, coordinates), rows, pa.cpu_count())
    table = one_batch(pa.Table.from_batches(list(parts)))
    # Selected by position: a feature may have the name of one of these columns.
    n_features = len(reading.schema.active)
    partitions, offsets, held_out = (table.column(n_features + n) for n in range(3))
    order = pa.array(np.lexsort((offsets, partitions)))
    examples = table.select(list(range(n_features))).take(order)
    everything = LocalExamples(reading.schema, examples)
    if reading.test_fraction == 0:
        return Split(everything, everything, None)
    mask = held_out.take(order)
    train = replace(everything, table=examples.filter(pc.invert(mask)))
    test = replace(everything, table=examples.filter(mask))
    return _split(everything, train, test)


def _on_executors(
    reading: Reading, new_data: DataFrame, past_data: DataFrame | None
) -> Split[TrainingExamples]:
    # What executors hold: features by number, and which examples are held out.
    features = ((name in reading.schema.numeric, n) for n, name in enumerate(reading.schema.active))
    kinds = [(f"c{n}", pa.float64() if numeric else pa.string()) for numeric, n in features]
    schema = pa.schema([*kinds, (HELD_OUT, pa.bool_())])
    rows = new_data.select(*_COLUMNS, F.lit(True).alias(_IS_NEW))
    if past_data is not None:
        rows = rows.union(past_data.select(*_COLUMNS, F.lit(False).alias(_IS_NEW)))

    def parsed(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            yield _parsed(batch, reading).rename_columns(schema.names)

    table = rows.mapInArrow(parsed, from_arrow_schema(schema)).persist()
    counts = table.agg(F.count("*"), F.count_if(HELD_OUT)).first()
    assert counts is not None
    everything = SparkExamples(reading.schema, table, counts[0])
    train = replace(everything, table=table.where(f"NOT {HELD_OUT}"), n_rows=counts[0] - counts[1])
    test = replace(everything, table=table.where(HELD_OUT), n_rows=counts[1])
    return _split(everything, train, test)


def _split(
    everything: TrainingExamples, train: TrainingExamples, test: TrainingExamples
) -> Split[TrainingExamples]:
    return Split(everything, train if len(train) else None, test if len(test) else None)


def _parsed(batch: pa.RecordBatch, reading: Reading, kept: Sequence[str] = ()) -> pa.RecordBatch:
    """Return the examples of history rows; behind their columns those `kept`, and `HELD_OUT`."""
    found, reasons = parse(batch["value"], reading.schema, reading.required)
    for name in kept:
        found = found.append_column(name, batch[name])
    partitions, offsets = (batch[name].to_numpy() for name in ("partition", "offset"))
    by_hash = is_held_out(partitions, offsets, reading.test_fraction, reading.seed)
    held_out = pc.and_(pa.array(by_hash), batch[_IS_NEW])
    found = found.append_column(HELD_OUT, held_out)
    return found if reasons.null_count == len(reasons) else found.filter(reasons.is_null())
