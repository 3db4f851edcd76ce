"""From trees as they were grown or read to flat arrays."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from common.apps.forest.trees import Matrix, Nodes, Trees

_Item = TypeVar("_Item", bound=np.generic)


@dataclass(frozen=True)
class Tree:
    """One tree with nodes in any order, the root first.

    Attributes
    ----------
    feature : ndarray of int64, shape (n_nodes,)
        Which predictor a node tests; -1 at a leaf.
    threshold : ndarray of float64, shape (n_nodes,)
        Of numeric tests.
    negative, positive : ndarray of int64, shape (n_nodes,)
        The children; they mean nothing at a leaf.
    default : ndarray of bool, shape (n_nodes,)
        Whether a missing value goes to the positive child.
    totals : ndarray of float64, shape (n_nodes, width)
        As in :class:`common.apps.forest.model.Leaves`; of inner nodes too where the grower
        knows them.
    subsets : mapping of int to ndarray of bool
        For each node with a categorical test: which categories go to the positive child.
    """

    feature: Nodes
    threshold: Matrix
    negative: Nodes
    positive: Nodes
    default: NDArray[np.bool_]
    totals: Matrix
    subsets: Mapping[int, NDArray[np.bool_]] = field(default_factory=dict)


def lay_out(trees: Sequence[Tree], weights: Matrix) -> tuple[Trees, Matrix]:
    """Give the nodes of all trees their final numbers; what no path reaches is left out.

    Returns
    -------
    trees : Trees
        The tests.
    totals : ndarray of float64, shape (n_nodes, width)
        The nodes' totals, in the new order.
    """
    levels = [_levels(tree) for tree in trees]
    orders = [np.concatenate(found) for found in levels]
    sizes = np.array([len(order) for order in orders])
    roots = np.cumsum(sizes) - sizes

    def joined(part: Callable[[Tree, Nodes], NDArray[_Item]]) -> NDArray[_Item]:
        return np.concatenate([part(t, o) for t, o in zip(trees, orders, strict=True)])

    subset, members = _subsets(trees, orders)
    laid = Trees(
        roots=roots,
        depths=np.array([len(found) - 1 for found in levels]),
        weights=weights,
        feature=joined(lambda tree, order: np.maximum(tree.feature[order], 0)),
        threshold=joined(_thresholds),
        child=joined(_children) + np.repeat(roots, sizes),
        default=joined(lambda tree, order: tree.default[order] & (tree.feature[order] >= 0)),
        subset=subset,
        members=members,
    )
    return laid, joined(lambda tree, order: tree.totals[order])


def reachable(tree: Tree) -> Nodes:
    """Return the nodes that a path leads to."""
    return np.concatenate(_levels(tree))


def _levels(tree: Tree) -> list[Nodes]:
    """Return the nodes of each level; those of one parent are neighbours, the negative first."""
    levels = [np.zeros(1, np.int64)]
    while True:
        inner = levels[-1][tree.feature[levels[-1]] >= 0]
        if not len(inner):
            return levels
        levels.append(np.column_stack([tree.negative[inner], tree.positive[inner]]).ravel())


def _children(tree: Tree, order: Nodes) -> Nodes:
    """Return the new number, within the tree, of each node's negative child."""
    children = np.arange(len(order), dtype=np.int64)
    inner = np.flatnonzero(tree.feature[order] >= 0)
    children[inner] = 1 + 2 * np.arange(len(inner))
    return children


def _thresholds(tree: Tree, order: Nodes) -> Matrix:
    thresholds = np.where(tree.feature >= 0, tree.threshold, np.inf)
    thresholds[list(tree.subsets)] = np.inf
    return thresholds[order]


def _subsets(trees: Sequence[Tree], orders: Sequence[Nodes]) -> tuple[Nodes, NDArray[np.bool_]]:
    starts: list[int] = []
    members = [np.zeros(0, np.bool_)]
    at = 0
    for tree, order in zip(trees, orders, strict=True):
        for node in order.tolist():
            chosen = tree.subsets.get(node)
            starts.append(-1 if chosen is None else at)
            if chosen is not None:
                members.append(chosen)
                at += len(chosen)
    return np.array(starts, np.int64), np.concatenate(members)
