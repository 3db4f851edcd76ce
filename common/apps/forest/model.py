"""A random forest: its trees, the totals of its leaves, and its predictions."""

from __future__ import annotations

import threading
from dataclasses import dataclass

import numpy as np

from common.apps.forest.trees import Matrix, Nodes, Trees
from common.records.pmml_fields import Fields


class Leaves:
    """What each leaf has seen, and the score that follows from it.

    One thread writes while others read: a leaf is read as it was before or after an update.

    Parameters
    ----------
    totals : ndarray of float64, shape (n_nodes, n_classes) or (n_nodes, 2)
        Classification: the number of examples of each class.  Regression: the number of
        examples and the mean of their targets.  Rows of inner nodes mean nothing.
    classification : bool
        Which of the two it is.
    """

    def __init__(self, totals: Matrix, classification: bool) -> None:
        self.totals = totals
        self.classification = classification
        self._lock = threading.Lock()
        self._scores = self._scored(totals)

    @property
    def n_outputs(self) -> int:
        """Length of a score: one probability for each class, or one number."""
        return int(self._scores.shape[1])

    @property
    def counts(self) -> Matrix:
        """Number of examples that each leaf has seen, shape (n_nodes,)."""
        counts: Matrix = self.totals.sum(axis=1) if self.classification else self.totals[:, 0]
        return counts

    def scores(self, nodes: Nodes) -> Matrix:
        """Return the scores of leaves, shape (..., n_outputs)."""
        with self._lock:
            found: Matrix = self._scores.take(nodes, axis=0)
        return found

    def replace(self, node: int, total: Matrix) -> None:
        """Set the total of a leaf."""
        score = self._scored(total[np.newaxis])
        with self._lock:
            self.totals[node] = total
            self._scores[node] = score[0]

    def add(self, node: int, change: Matrix) -> None:
        """Add to the total of a leaf: counts, or (number, mean) of further targets."""
        self.replace(node, self._added(self.totals[node], change))

    def snapshot(self) -> Leaves:
        """Return the leaves as they are now; updates pass it by."""
        with self._lock:
            return Leaves(self.totals.copy(), self.classification)

    def _added(self, total: Matrix, change: Matrix) -> Matrix:
        """Return the total of two groups of examples together."""
        if self.classification:
            both: Matrix = total + change
            return both
        count = total[0] + change[0]
        # Oryx's rule: mean + n/(n+N)·(m - mean).
        share = change[0] / count if count else 0.0
        moved: Matrix = np.array([count, total[1] + share * (change[1] - total[1])])
        return moved

    def _scored(self, totals: Matrix) -> Matrix:
        if not self.classification:
            means: Matrix = totals[:, 1:].copy()
            return means
        counts = totals.sum(axis=1, keepdims=True)
        shares: Matrix = np.full_like(totals, 1.0 / totals.shape[1])
        np.divide(totals, counts, out=shares, where=counts > 0)
        return shares


@dataclass(frozen=True)
class Parameters:
    """How a forest was grown, as its PMML says."""

    max_depth: int
    max_split_candidates: int
    impurity: str


@dataclass(frozen=True)
class ForestModel:
    """A forest and the meaning of its numbers.

    Attributes
    ----------
    fields : Fields
        The schema, the categories in the order of their codes, the importances.
    parameters : Parameters
        How it was grown.
    trees : Trees
        The tests.
    leaves : Leaves
        What the leaves have seen; it moves on with updates.
    timestamp : int or None
        Milliseconds since 1970 at which it was built.
    """

    fields: Fields
    parameters: Parameters
    trees: Trees
    leaves: Leaves
    timestamp: int | None = None

    @property
    def classes(self) -> tuple[str, ...]:
        """The target's categories, in the order of their codes; none for regression."""
        target = self.fields.schema.target
        assert target is not None
        return tuple(self.fields.categories.get(target, ()))

    def predict(self, matrix: Matrix) -> Matrix:
        """Return the weighted mean of the trees' scores, shape (n, n_outputs).

        Parameters
        ----------
        matrix : ndarray of float64, shape (n, n_predictors)
            Numbers and codes of categories; NaN is missing.
        """
        weights = self.trees.weights / self.trees.weights.sum()
        votes = np.zeros((len(matrix), self.leaves.n_outputs))
        for rows, trees, leaves in self.trees.leaves(matrix):
            scores = self.leaves.scores(leaves)
            votes[rows] += np.tensordot(weights[trees], scores, axes=1)
        return votes
