"""From examples to the space in which k-means measures distance.

Numeric features are taken as they are, or standardised; each category of a categorical one is
a coordinate of its own, 1 or 0.  A category that the model does not know is 0 in all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from common.records.encoding import Encoding, Matrix
from common.records.examples import Datum
from common.records.schema import InputSchema

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Coordinate:
    """One axis of the space.

    Attributes
    ----------
    feature : str
        The feature that it comes from.
    category : str or None
        Of a categorical feature, the value that is 1; all others are 0.
    low, high : float
        Of a numeric feature, the values that become 0 and 1; what is between and beyond
        follows on the same line.
    """

    feature: str
    category: str | None = None
    low: float = 0.0
    high: float = 1.0

    @property
    def is_plain(self) -> bool:
        """Whether it is a number as it stands."""
        return self.category is None and (self.low, self.high) == (0.0, 1.0)


@dataclass(frozen=True)
class Transformation:
    """The coordinates of the space, in order."""

    coordinates: tuple[Coordinate, ...]

    @classmethod
    def of(
        cls,
        schema: InputSchema,
        encoding: Encoding,
        moments: Sequence[tuple[float, float]] = (),
    ) -> Transformation:
        """Make the coordinates of a schema.

        Parameters
        ----------
        schema : InputSchema
            Its predictors, in order, are what distance is measured by.
        encoding : Encoding
            The categories of each categorical feature.
        moments : sequence of (float, float), optional
            For each numeric predictor its mean and standard deviation, by which it is
            standardised; without them numbers are taken as they are.
        """
        coordinates: list[Coordinate] = []
        of_numbers = iter(moments)
        for feature in schema.predictors:
            if feature in encoding.categories:
                values = encoding.categories[feature]
                coordinates += [Coordinate(feature, category=value) for value in values]
            elif moments:
                coordinates.append(Coordinate(feature, None, *_line(*next(of_numbers))))
            else:
                coordinates.append(Coordinate(feature))
        return cls(tuple(coordinates))

    @cached_property
    def encoding(self) -> Encoding:
        """The categories that have a coordinate."""
        found: dict[str, list[str]] = {}
        for coordinate in self.coordinates:
            if coordinate.category is not None:
                found.setdefault(coordinate.feature, []).append(coordinate.category)
        return Encoding({feature: tuple(values) for feature, values in found.items()})

    def points(self, examples: pa.RecordBatch) -> tuple[Matrix, int]:
        """Return examples as points.

        Parameters
        ----------
        examples : RecordBatch
            Without missing values; see :mod:`common.records.examples`.

        Returns
        -------
        points : ndarray of float64, shape (n, d), in C order
            Their coordinates.
        n_unseen : int
            How many values are categories that the model does not know.
        """
        points = np.empty((examples.num_rows, len(self.coordinates)))
        n_unseen = 0
        for feature, columns in self._columns.items():
            encoded, unseen = self.encoding.encode(examples, [feature])
            n_unseen += unseen
            for column in columns:
                points[:, column] = self._placed(encoded[:, 0], column)
        return points, n_unseen

    def _placed(self, values: Matrix, column: int) -> Matrix:
        """Return encoded values of a feature in one of its coordinates."""
        placed: Matrix = (values - self._lows[column]) / self._widths[column]
        if self._is_code[column]:
            placed = (values == self._codes[column]).astype(np.float64)
        return placed

    def point(self, datum: Datum) -> tuple[Matrix, int]:
        """Return one example as a point, shape (1, d), and its number of unknown categories."""
        encoded, n_unseen = self.encoding.encode_datum(datum, list(self._columns))
        by_feature = dict(zip(self._columns, encoded, strict=True))
        values = np.array([by_feature[one.feature] for one in self.coordinates])
        numbers = (values - self._lows) / self._widths
        return np.where(self._is_code, values == self._codes, numbers)[np.newaxis], n_unseen

    @cached_property
    def _columns(self) -> dict[str, list[int]]:
        """For each feature the numbers of its coordinates."""
        found: dict[str, list[int]] = {}
        for column, one in enumerate(self.coordinates):
            found.setdefault(one.feature, []).append(column)
        return found

    @cached_property
    def _codes(self) -> NDArray[np.float64]:
        """For each coordinate the code that is 1; below 0 for a numeric feature's."""
        known = self.encoding.categories
        return np.array(
            [
                -1.0 if one.category is None else known[one.feature].index(one.category)
                for one in self.coordinates
            ]
        )

    @cached_property
    def _is_code(self) -> NDArray[np.bool_]:
        return self._codes >= 0

    @cached_property
    def _lows(self) -> NDArray[np.float64]:
        return np.array([coordinate.low for coordinate in self.coordinates])

    @cached_property
    def _widths(self) -> NDArray[np.float64]:
        return np.array([coordinate.high - coordinate.low for coordinate in self.coordinates])


def _line(mean: float, deviation: float) -> tuple[float, float]:
    """Return what becomes 0 and 1; a feature that never varies keeps its unit."""
    high = mean + (deviation or 1.0)
    return mean, max(high, float(np.nextafter(mean, np.inf)))
