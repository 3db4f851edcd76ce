"""Features as a few ordered bins, so that a tree need not look at every value.

A number's bins end at quantiles.  Categories are put in an order, so that a threshold between
two of them is a set of categories.  With two classes, or a number to predict, the order is by
the mean target, and the best set of all is among those thresholds (Breiman et al.,
Classification and Regression Trees, 1984, section 9.4).  With more classes it is by the first
principal component of the categories' class shares (Coppersmith, Hong, Hosking: Partitioning
Nominal Attributes in Decision Trees, 1999), which with two classes is the same order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from common.apps.forest.trees import Matrix, Nodes

Bins = NDArray[np.float32]

#: Values among which quantiles are looked for.
_SAMPLE = 200_000


@dataclass(frozen=True)
class Numeric:
    """Bins of a number: bin i holds what is above edge i-1 and at most edge i."""

    edges: Matrix

    @classmethod
    def of(cls, values: Matrix, max_bins: int, random: np.random.Generator) -> Numeric:
        """Choose edges between the values, or at quantiles where there are too many of them.

        Every other one is a quantile of the distinct values and not of the examples: a long tail
        has few examples, but what lies in it may matter most.
        """
        present = values[~np.isnan(values)]
        if len(present) > _SAMPLE:
            present = random.choice(present, _SAMPLE, replace=False)
        distinct = np.unique(present)
        if len(distinct) <= max_bins:
            return cls(_between(distinct[:-1], distinct[1:]))
        shares = np.arange(1, max_bins) / max_bins
        common = _quantiles(np.sort(present), shares[0::2])
        rare = _quantiles(distinct, shares[1::2])
        return cls(np.unique(np.concatenate([common, rare])))

    def bins(self, values: Matrix) -> Bins:
        """Return each value's bin; NaN where it is missing."""
        found = np.searchsorted(self.edges, values, side="left").astype(np.float32)
        found[np.isnan(values)] = np.nan
        return found

    def thresholds(self, bins: Matrix) -> Matrix:
        """Return the edge below each of these places between bins.

        The library splits what is missing from everything else above the last bin.
        """
        edges = np.append(self.edges, np.finfo(np.float64).max)
        found: Matrix = edges[np.minimum(bins, len(self.edges)).astype(np.int64)]
        return found


@dataclass(frozen=True)
class Categorical:
    """Bins of categories: for each code its bin, neighbours in the order sharing one."""

    bin_of: Nodes

    @classmethod
    def of(cls, sums: Matrix, counts: NDArray[np.int64], max_bins: int) -> Categorical:
        """Order categories by the means of their targets.

        Parameters
        ----------
        sums : ndarray of float64, shape (n_categories, width)
            For each category the sum of its targets, or the number of each class.
        counts : ndarray of int64, shape (n_categories,)
            Its examples; categories without any come last.
        max_bins : int
            Into how many bins they are put at most.
        """
        n_categories = len(counts)
        means = sums / np.maximum(counts, 1)[:, np.newaxis]
        scores = np.where(counts > 0, _principal(means, counts), np.inf)
        rank = np.empty(n_categories, np.int64)
        rank[np.lexsort((np.arange(n_categories), scores))] = np.arange(n_categories)
        return cls(rank * min(max_bins, n_categories) // n_categories)

    def bins(self, codes: Matrix) -> Bins:
        """Return the bin of each category; NaN where it is missing."""
        present = ~np.isnan(codes)
        found = np.full(len(codes), np.nan, np.float32)
        found[present] = self.bin_of[codes[present].astype(np.int64)]
        return found

    def above(self, bin_: float) -> NDArray[np.bool_]:
        """Return for each category whether its bin is above this one."""
        above: NDArray[np.bool_] = self.bin_of > bin_
        return above


Feature = Numeric | Categorical


def target_sums(
    codes: Matrix, targets: Matrix, n_categories: int, n_classes: int
) -> tuple[Matrix, NDArray[np.int64]]:
    """Return for each category the sum of its targets and its examples.

    Parameters
    ----------
    codes : ndarray of float64, shape (n,)
        NaN where the category is missing.
    targets : ndarray of float64, shape (n,)
        Numbers, or codes of classes.
    n_categories, n_classes : int
        How many there are; no class for numbers.

    Returns
    -------
    sums : ndarray of float64, shape (n_categories, max(1, n_classes))
        Of numbers, or how often each class occurs.
    counts : ndarray of int64, shape (n_categories,)
        How often each category occurs.
    """
    present = ~np.isnan(codes)
    rows, targets = codes[present].astype(np.int64), targets[present]
    counts = np.bincount(rows, minlength=n_categories)
    if not n_classes:
        sums = np.bincount(rows, targets, n_categories)
    else:
        cells = rows * n_classes + targets.astype(np.int64)
        sums = np.bincount(cells, minlength=n_categories * n_classes)
    return sums.astype(np.float64).reshape(n_categories, -1), counts


def binned(features: Sequence[Feature], rows: Matrix) -> Bins:
    """Return the bins of encoded rows, shape (n, n_features), as scikit-learn likes them."""
    columns = [feature.bins(rows[:, at]) for at, feature in enumerate(features)]
    return np.stack(columns, axis=1)


def _quantiles(ordered: Matrix, shares: Matrix) -> Matrix:
    """Return the edges below which these shares of the values lie, as far as there are some."""
    at = np.maximum(1, (shares * len(ordered)).astype(np.int64))
    edges = _between(ordered[at - 1], ordered[at])
    below: Matrix = edges[edges < ordered[-1]]
    return below


def _between(low: Matrix, high: Matrix) -> Matrix:
    """Return an edge between neighbours, never so high that it is the upper one."""
    middle = low / 2 + high / 2
    return np.where(middle < high, middle, low)


def _principal(means: Matrix, counts: NDArray[np.int64]) -> Matrix:
    """Return the first principal component of the rows of `means`, each weighed by its count."""
    if means.shape[1] == 1:
        return means[:, 0]
    weights = counts / max(1, counts.sum())
    centerd = means - weights @ means
    covariance = (centerd * weights[:, np.newaxis]).T @ centerd
    direction = np.linalg.eigh(covariance)[1][:, -1]
    # Its sign is arbitrary: without a rule the order would depend on the library.
    direction *= np.sign(direction[np.abs(direction).argmax()]) or 1.0
    scores: Matrix = centerd @ direction
    return np.round(scores, 12)
