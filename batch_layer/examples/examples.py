"""Training examples in the driver's memory, or on the executors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, TypeAlias

import numpy as np
import pyarrow as pa
from pyspark.sql import functions as F

from common.records.columns import parse
from common.records.encoding import Encoding, Matrix
from common.records.schema import InputSchema

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

#: A sum over examples: returns for a part of them a matrix, of the same shape for every part.
Measure: TypeAlias = Callable[[pa.RecordBatch], Matrix]

#: Column of a DataFrame of examples, after the features: whether the example is held out.
HELD_OUT = "held_out"


@dataclass(frozen=True)
class LocalExamples:
    """Examples in the driver's memory, in the order of the input topic.

    Attributes
    ----------
    schema : InputSchema
        The schema of the examples.
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
        """Return the encoding of the categories that occur, sorted."""
        return Encoding.learnt([self.table], self.schema)

    def sample(self, at_most: int, seed: int) -> pa.RecordBatch:
        """Return `at_most` examples drawn without replacement, or all if there are fewer."""
        if len(self) <= at_most:
            return self.table
        rows = np.random.default_rng(seed).choice(len(self), at_most, replace=False)
        return self.table.take(pa.array(np.sort(rows)))

    def total(self, measure: Measure) -> Matrix:
        """Return `measure` of all examples."""
        return measure(self.table)

    def release(self) -> None:
        """Do nothing: Python frees the memory."""


@dataclass(frozen=True)
class SparkExamples:
    """Examples on the executors.

    Attributes
    ----------
    schema : InputSchema
        The schema of the examples.
    table : DataFrame
        A column for each active feature, named by number: Spark's names ignore case.
    n_rows : int
        The number of examples.
    """

    engine: ClassVar[str] = "mllib"

    schema: InputSchema
    table: DataFrame
    n_rows: int

    def __len__(self) -> int:
        """Return the number of examples."""
        return self.n_rows

    def encoding(self) -> Encoding:
        """Return the encoding of the categories that occur, sorted."""
        named = zip(self.schema.active, self.table.columns, strict=False)
        columns = {name: column for name, column in named if name in self.schema.categorical}
        if not columns:
            return Encoding({})
        categories = self.table.select(
            [F.collect_set(column) for column in columns.values()]
        ).first()
        assert categories is not None
        return Encoding(
            {name: tuple(sorted(s)) for name, s in zip(columns, categories, strict=True)}
        )

    def vectors(
        self, encode: Callable[[pa.RecordBatch], Matrix], with_label: bool = False
    ) -> DataFrame:
        """Return the examples as vectors for MLlib.

        Parameters
        ----------
        encode : callable
            Returns a matrix with a row for each example; runs on the executors.
        with_label : bool
            Whether the matrix's last column is the label.

        Returns
        -------
        DataFrame
            Columns ``features`` (vector) and, if `with_label`, ``label`` (double).
        """
        # What brings pandas with it, 50 MB, stays out of the executors' workers, which import this
        # module for its functions.
        from pyspark.ml.functions import array_to_vector

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
        """Return about `at_most` examples drawn at random, or all if there are fewer."""
        chosen = self.table.drop(HELD_OUT)
        if self.n_rows > at_most:
            chosen = chosen.sample(at_most / self.n_rows, seed)
        return _named(one_batch(chosen.toArrow()), self.schema)

    def total(self, measure: Measure) -> Matrix:
        """Return the sum of `measure` over parts of the examples, computed on the executors."""
        schema = self.schema

        def measured(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
            parts = [measure(_named(batch, schema)) for batch in batches if batch.num_rows]
            if parts:
                yield pa.RecordBatch.from_pydict({"part": _lists(np.sum(parts, axis=0))})

        parts = self.table.drop(HELD_OUT).mapInArrow(measured, "part array<double>")
        # Each row of the result is a row of one part's matrix; all parts have the same shape.
        rows = np.array(parts.toArrow()["part"].to_pylist())
        n_rows = len(measure(parse(pa.array([], pa.string()), schema)[0]))
        found: Matrix = rows.reshape(-1, n_rows, rows.shape[1]).sum(axis=0)
        return found

    def release(self) -> None:
        """Free the executors' memory."""
        self.table.unpersist()


TrainingExamples: TypeAlias = LocalExamples | SparkExamples


def one_batch(table: pa.Table) -> pa.RecordBatch:
    """Return a table as one record batch."""
    batches = table.combine_chunks().to_batches()
    return batches[0] if batches else pa.RecordBatch.from_pylist([], schema=table.schema)


def _named(batch: pa.RecordBatch, schema: InputSchema) -> pa.RecordBatch:
    """Return the batch with its columns named by the features."""
    return batch.rename_columns(list(schema.active))


def _lists(matrix: Matrix) -> pa.ListArray:
    n_rows, n_columns = matrix.shape
    offsets = pa.array(np.arange(n_rows + 1, dtype=np.int32) * n_columns)
    return pa.ListArray.from_arrays(offsets, pa.array(matrix.ravel()))
