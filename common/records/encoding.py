"""Encodes examples as a matrix of numbers; a category becomes its position."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from common.records.examples import Datum
from common.records.schema import InputSchema

if TYPE_CHECKING:
    import pyarrow as pa

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class Encoding:
    """The categories of each categorical feature; a category's code is its position.

    Attributes
    ----------
    categories : mapping of str to tuple of str
        For each categorical active feature, including the target, its categories in order.
    """

    categories: Mapping[str, tuple[str, ...]]

    @classmethod
    def learnt(cls, parts: Iterable[pa.RecordBatch], schema: InputSchema) -> Encoding:
        """Return the encoding of the categories that occur in examples, sorted."""
        categories: dict[str, set[str]] = {name: set() for name in _categorical(schema)}
        for examples in parts:
            for name, seen in categories.items():
                seen.update(examples[name].unique().drop_null().to_pylist())
        return cls({name: tuple(sorted(seen)) for name, seen in categories.items()})

    def encode(self, examples: pa.RecordBatch, features: Sequence[str]) -> tuple[Matrix, int]:
        """Encode columns of examples.

        Parameters
        ----------
        examples : RecordBatch
            See :mod:`common.records.examples`.
        features : sequence of str
            The columns to encode, in order.

        Returns
        -------
        matrix : ndarray of float64, shape (n, len(features)), in Fortran order
            Numbers, and codes of categories; NaN for a missing value or an unknown category.
        n_unseen : int
            Number of values that are unknown categories.
        """
        # Arrow takes 34 MB, and what a single example is encoded with needs none of it.
        import pyarrow.compute as pc

        matrix = np.empty((examples.num_rows, len(features)), order="F")
        n_unseen = 0
        for column, name in enumerate(features):
            values = examples[name]
            if name in self.categories:
                n_given = len(values) - values.null_count
                values = pc.index_in(values, value_set=self._sets[name])
                n_unseen += n_given - (len(values) - values.null_count)
            matrix[:, column] = values.cast("float64").to_numpy(zero_copy_only=False)
        return matrix, n_unseen

    def encode_datum(self, datum: Datum, features: Sequence[str]) -> tuple[list[float], int]:
        """Encode one example; return a row of :meth:`encode` and its unknown categories' number."""
        row = []
        n_unseen = 0
        for name in features:
            value = datum[name]
            if name in self.categories and value is not None:
                value = self._codes[name].get(value)
                n_unseen += value is None
            row.append(np.nan if value is None else float(value))
        return row, n_unseen

    @cached_property
    def _sets(self) -> dict[str, pa.StringArray]:
        # As in `encode`.
        import pyarrow as pa

        return {name: pa.array(values, pa.string()) for name, values in self.categories.items()}

    @cached_property
    def _codes(self) -> dict[str, dict[object, int]]:
        return {
            name: {value: code for code, value in enumerate(values)}
            for name, values in self.categories.items()
        }


def _categorical(schema: InputSchema) -> list[str]:
    return [name for name in schema.active if name in schema.categorical]
