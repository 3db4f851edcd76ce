"""Examples to train on: in the driver's memory, or on the executors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, TypeAlias

import numpy as np
import pyarrow as pa

from common.records.columns import parse
from common.records.encoding import Encoding, Matrix
from common.records.schema import InputSchema

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

#: What adds up over examples: of some of them, as a matrix whose shape is always the same.
Measure: TypeAlias = Callable[[pa.RecordBatch], Matrix]

#: Of a frame of examples the column that says which are held out, after those of the features.
HELD_OUT = "held_out"


@dataclass(frozen=True)
class LocalExamples:
    """Examples in the driver's memory, in the order of the input topic.

    Attributes
    ----------
    schema : InputSchema
        Of the examples.
    table : RecordBatch
        See :mod:`common.records.examples`.
    """

    engine: ClassVar[str] = "sklearn"

    schema: InputSchema
    table: pa.RecordBatch

    def __len__(self) -> int:
        """Return the number of examples."""
        return int(self.table.num_rows)

    def encoding(self) -> Encoding:
        """Return the categories that occur, sorted."""
        return Encoding.learnt([self.table], self.schema)

    def sample(self, at_most: int, seed: int) -> pa.RecordBatch:
        """Return this many examples drawn without replacement, or all where there are no more."""
        if len(self) <= at_most:
            return self.table
        rows = np.random.default_rng(seed).choice(len(self), at_most, replace=False)
        return self.table.take(pa.array(np.sort(rows)))

    def total(self, measure: Measure) -> Matrix:
        """Return what `measure` says of all examples."""
        return measure(self.table)

    def release(self) -> None:
        """Do nothing: Python frees it."""


@dataclass(frozen=True)
class SparkExamples:
    """Examples on the executors.

    Attributes
    ----------
    schema : InputSchema
        Of the examples.
    table : DataFrame
        A column for each active feature, named by its number since Spark's names know no case.
    n_rows : int
        How many.
    """

    engine: ClassVar[str] = "mllib"

    schema: InputSchema
    table: DataFrame
    n_rows: int

    def __len__(self) -> int:
        """Return the number of examples."""
        return self.n_rows

    def encoding(self) -> Encoding:
        """Return the categories that occur, sorted."""
        from pyspark.sql import functions as F

        named = zip(self.schema.active, self.table.columns, strict=False)
        columns = {name: column for name, column in named if name in self.schema.categorical}
        if not columns:
            return Encoding({})
        found = self.table.select([F.collect_set(column) for column in columns.values()]).first()
        assert found is not None
        return Encoding({name: tuple(sorted(s)) for name, s in zip(columns, found, strict=True)})

    def vectors(
        self, encode: Callable[[pa.RecordBatch], Matrix], with_label: bool = False
    ) -> DataFrame:
        """Return the examples as MLlib wants them.

        Parameters
        ----------
        encode : callable
            Turns examples into a matrix with a row for each; runs on the executors.
        with_label : bool
            Whether the matrix's last column is the label.

        Returns
        -------
        DataFrame
            ``features`` (vector), and ``label`` (double) if asked for.
        """
        from pyspark.ml.functions import array_to_vector
        from pyspark.sql import functions as F

        schema = self.schema

        def encoded(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
            for batch in batches:
                matrix = encode(_named(batch, schema))
                features = matrix[:, :-1] if with_label else matrix
                columns = {"features": _lists(features)}
                if with_label:
                    columns["label"] = pa.array(matrix[:, -1])
                yield pa.RecordBatch.from_pydict(columns)

        kinds = "features array<double>" + (", label double" if with_label else "")
        rows = self.table.drop(HELD_OUT).mapInArrow(encoded, kinds)
        return rows.withColumn("features", array_to_vector(F.col("features")))

    def sample(self, at_most: int, seed: int) -> pa.RecordBatch:
        """Return about this many examples drawn at random, or all where there are no more."""
        chosen = self.table.drop(HELD_OUT)
        if self.n_rows > at_most:
            chosen = chosen.sample(at_most / self.n_rows, seed)
        return _named(one_batch(chosen.toArrow()), self.schema)

    def total(self, measure: Measure) -> Matrix:
        """Return the sum of what `measure` says of the examples, part by part, on the executors."""
        schema = self.schema

        def measured(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
            parts = [measure(_named(batch, schema)) for batch in batches if batch.num_rows]
            if parts:
                yield pa.RecordBatch.from_pydict({"part": _lists(np.sum(parts, axis=0))})

        parts = self.table.drop(HELD_OUT).mapInArrow(measured, "part array<double>")
        # One row of the result is one row of a part's matrix: parts have the same shape.
        rows = np.array(parts.toArrow()["part"].to_pylist())
        n_rows = len(measure(parse(pa.array([], pa.string()), schema)[0]))
        found: Matrix = rows.reshape(-1, n_rows, rows.shape[1]).sum(axis=0)
        return found

    def release(self) -> None:
        """Free the executors' memory."""
        self.table.unpersist()


TrainingExamples: TypeAlias = LocalExamples | SparkExamples


def one_batch(table: pa.Table) -> pa.RecordBatch:
    """Return a table's rows in one piece."""
    batches = table.combine_chunks().to_batches()
    return batches[0] if batches else pa.RecordBatch.from_pylist([], schema=table.schema)


def _named(batch: pa.RecordBatch, schema: InputSchema) -> pa.RecordBatch:
    """Give the columns their features' names back."""
    return batch.rename_columns(list(schema.active))


def _lists(matrix: Matrix) -> pa.ListArray:
    n_rows, n_columns = matrix.shape
    offsets = pa.array(np.arange(n_rows + 1, dtype=np.int32) * n_columns)
    return pa.ListArray.from_arrays(offsets, pa.array(matrix.ravel()))
