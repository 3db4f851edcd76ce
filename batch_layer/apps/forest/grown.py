"""What a forest's engines have in common: how to grow, and what to make of what was grown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from common.apps.forest.layout import Tree, lay_out, reachable
from common.apps.forest.model import Leaves
from common.apps.forest.trees import Matrix, Trees

Impurity = Literal["entropy", "gini", "variance"]


@dataclass(frozen=True)
class Fit:
    """How a forest is grown.

    Attributes
    ----------
    num_trees : int
        How many.
    max_depth : int
        Tests on a path at most.
    max_split_candidates : int
        Bins of a feature's values at most.
    impurity : {"entropy", "gini", "variance"}
        What a split reduces.
    min_node_size : int
        Training examples that a node must have.
    min_gain : float
        Least gain of a split: nats of entropy, Gini's own unit, a share of the targets'
        variance.
    seed : int
        Of every random choice.
    threads : int
        Cores to use, where the engine runs on the driver.
    scratch : str
        A folder that driver and executors both reach, where the engine runs on executors.
    """

    num_trees: int
    max_depth: int
    max_split_candidates: int
    impurity: Impurity
    min_node_size: int
    min_gain: float
    seed: int
    threads: int
    scratch: str


@dataclass(frozen=True)
class Grown:
    """One tree as an engine grew it.

    Attributes
    ----------
    tree : Tree
        The tests, and what each node has seen.
    counts : ndarray of float64, shape (n_nodes,)
        Examples of the tree's sample at each node.
    gains : ndarray of float64, shape (n_nodes,)
        By how much a node's test lowers the impurity, within the node; 0 at leaves.
    """

    tree: Tree
    counts: Matrix
    gains: Matrix

    def cut(self, min_gain: float) -> Grown:
        """Make every node a leaf whose own gain is too small, from the root downwards."""
        weak = self.gains < min_gain
        feature = np.where(weak, -1, self.tree.feature)
        subsets = {node: s for node, s in self.tree.subsets.items() if not weak[node]}
        return replace(self, tree=replace(self.tree, feature=feature, subsets=subsets))

    def importances(self, n_features: int) -> Matrix:
        """Return each feature's share of the impurity that the tree takes away."""
        nodes = reachable(self.tree)
        inner = nodes[self.tree.feature[nodes] >= 0]
        weights = self.counts[inner] * self.gains[inner]
        taken = np.bincount(self.tree.feature[inner], weights, n_features)
        return _shares(taken.astype(np.float64))


def larger_is_positive(tree: Tree, counts: Matrix) -> Tree:
    """Send missing values to the child with more examples, the negative one if they tie."""
    return replace(tree, default=counts[tree.positive] > counts[tree.negative])


def assemble(
    grown: Sequence[Grown], n_features: int, classification: bool
) -> tuple[Trees, Leaves, Matrix]:
    """Put trees together.

    Returns
    -------
    trees : Trees
        The tests; every tree has the same vote.
    leaves : Leaves
        What each leaf has seen: the examples of its tree's sample.
    importances : ndarray of float64, shape (n_features,)
        The mean decrease of impurity over the trees; they add up to 1, or are all 0.
    """
    trees, totals = lay_out([one.tree for one in grown], np.ones(len(grown)))
    importances = np.mean([one.importances(n_features) for one in grown], axis=0)
    return trees, Leaves(totals, classification), _shares(importances)


def _shares(values: Matrix) -> Matrix:
    total = values.sum()
    shares: Matrix = values / total if total > 0 else np.zeros_like(values)
    return shares
