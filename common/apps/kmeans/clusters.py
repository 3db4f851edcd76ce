"""Clusters: which is nearest to a point, and how points move them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]
Rows = NDArray[np.int64]

#: Squared distances held at once.
_BLOCK = 1 << 22


@dataclass(frozen=True)
class Clusters:
    """Centers that never change: an update makes other clusters.

    Attributes
    ----------
    ids : tuple of int
        All different; a cluster's *row* is its position here.
    centers : ndarray of float64, shape (k, d)
        One row for each.
    counts : ndarray of int64, shape (k,)
        How many points each is the mean of.
    """

    ids: tuple[int, ...]
    centers: Matrix
    counts: Rows

    def __post_init__(self) -> None:
        """Raise ValueError if there are none, an id is doubled, or lengths differ."""
        if not self.ids:
            message = "there are no clusters"
            raise ValueError(message)
        if len(set(self.ids)) < len(self.ids):
            doubled = next(id_ for id_ in self.ids if self.ids.count(id_) > 1)
            message = f"cluster {doubled} is there twice"
            raise ValueError(message)
        if not len(self.ids) == len(self.centers) == len(self.counts):
            message = f"{len(self.ids)} ids, {len(self.centers)} centers, {len(self.counts)} counts"
            raise ValueError(message)

    def __len__(self) -> int:
        """Return k."""
        return len(self.ids)

    def nearest(self, points: Matrix) -> Rows:
        """Return for each point the row of the nearest center, shape (n,)."""
        # About the centers' mean, so that what all coordinates share does not cost precision.
        middle = self.centers.mean(axis=0)
        centers = self.centers - middle
        norms = np.einsum("ij,ij->i", centers, centers)
        rows = np.empty(len(points), np.int64)
        step = max(1, _BLOCK // len(self))
        for start in range(0, len(points), step):
            part = slice(start, start + step)
            products = (points[part] - middle) @ centers.T
            rows[part] = np.argmin(norms - 2 * products, axis=1)
        return rows

    def distances(self, points: Matrix, rows: Rows) -> NDArray[np.float64]:
        """Return each point's Euclidean distance to the center in its row of `rows`."""
        found: NDArray[np.float64] = np.linalg.norm(points - self.centers[rows], axis=1)
        return found

    def moved_by(self, points: Matrix) -> tuple[Clusters, Rows]:
        """Move each center towards the points that it is nearest to.

        Oryx's rule: the points of one call go to the center that is nearest at its start; m,
        the mean of n points, moves a center c of N points to c + n/(n+N)·(m - c), which is the
        mean of all n+N.

        Parameters
        ----------
        points : ndarray of float64, shape (n, d)
            New points.

        Returns
        -------
        clusters : Clusters
            After the move.
        rows : ndarray of int64
            Of the clusters that have points among these.
        """
        nearest = self.nearest(points)
        added = np.bincount(nearest, minlength=len(self))
        rows = np.flatnonzero(added)
        means = sums_by_row(points, nearest, len(self))[rows] / added[rows, np.newaxis]
        counts = self.counts + added
        centers = self.centers.copy()
        centers[rows] += (added / np.maximum(counts, 1))[rows, np.newaxis] * (
            means - self.centers[rows]
        )
        return replace(self, centers=centers, counts=counts), rows

    def with_cluster(self, id_: int, center: NDArray[np.float64], count: int) -> Clusters:
        """Replace one cluster's center and count.

        Raises
        ------
        ValueError
            If there is no such cluster, or the center has another length.
        """
        if id_ not in self.ids:
            message = f"there is no cluster {id_}"
            raise ValueError(message)
        if len(center) != self.centers.shape[1]:
            message = f"{len(center)} coordinates, not {self.centers.shape[1]}"
            raise ValueError(message)
        row = self.ids.index(id_)
        centers, counts = self.centers.copy(), self.counts.copy()
        centers[row], counts[row] = center, count
        return replace(self, centers=centers, counts=counts)


def sums_by_row(points: Matrix, rows: Rows, n_rows: int) -> Matrix:
    """Return for each row the sum of its points, shape (n_rows, d); the same on every machine."""
    sums = np.empty((n_rows, points.shape[1]))
    for column in range(points.shape[1]):
        sums[:, column] = np.bincount(rows, points[:, column], n_rows)
    return sums
