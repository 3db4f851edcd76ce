"""The trees of a forest as flat arrays, and the walk of many rows down all of them.

The two children of a node lie side by side: the *negative* one, and next to it the *positive*
one, to which a node's test sends what it holds for.  A leaf is its own child by a test that
never holds, so that any number of rows can walk down any number of trees in step.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]
Nodes = NDArray[np.int64]

ROOT, POSITIVE, NEGATIVE = "r", "+", "-"

#: Rows that walk together: what a tree's step touches stays in the processor's cache.
_BLOCK = 4096


@dataclass(frozen=True)
class Trees:
    """Trees whose nodes are numbered through, each tree level by level.

    Attributes
    ----------
    roots, depths : ndarray of int64, shape (n_trees,)
        For each tree its root, and how many tests its longest path has.
    weights : ndarray of float64, shape (n_trees,)
        Of each tree's vote.
    feature : ndarray of int64, shape (n_nodes,)
        Which predictor a node tests; 0 at a leaf.
    threshold : ndarray of float64, shape (n_nodes,)
        A number above it goes to the positive child; infinite at leaves and categorical tests.
    child : ndarray of int64, shape (n_nodes,)
        The negative child; a leaf itself at a leaf.
    default : ndarray of bool, shape (n_nodes,)
        Whether a missing value goes to the positive child.
    subset : ndarray of int64, shape (n_nodes,)
        Where in `members` a categorical test begins; -1 where there is none.
    members : ndarray of bool
        For each category of a test's feature whether it goes to the positive child.
    """

    roots: Nodes
    depths: Nodes
    weights: Matrix
    feature: Nodes
    threshold: Matrix
    child: Nodes
    default: NDArray[np.bool_]
    subset: Nodes
    members: NDArray[np.bool_]

    def __len__(self) -> int:
        """Return the number of trees."""
        return len(self.roots)

    @cached_property
    def is_leaf(self) -> NDArray[np.bool_]:
        """Which nodes are leaves."""
        leaf: NDArray[np.bool_] = self.child == np.arange(len(self.child))
        return leaf

    @cached_property
    def parents(self) -> Nodes:
        """The parent of each node; a root's is itself."""
        parents = np.arange(len(self.child))
        inner = np.flatnonzero(~self.is_leaf)
        parents[self.child[inner]] = parents[self.child[inner] + 1] = inner
        return parents

    def path(self, node: int) -> str:
        """Return a node's id in Oryx's form: ``r``, and ``+`` or ``-`` for each step down."""
        steps = []
        while (parent := int(self.parents[node])) != node:
            steps.append(NEGATIVE if node == self.child[parent] else POSITIVE)
            node = parent
        return ROOT + "".join(reversed(steps))

    def node(self, tree: int, path: str) -> int | None:
        """Return the node of a tree that has this id; None where there is none."""
        if type(tree) is not int or not 0 <= tree < len(self) or not path.startswith(ROOT):
            return None
        node = int(self.roots[tree])
        for step in path[len(ROOT) :]:
            if self.is_leaf[node] or step not in (POSITIVE, NEGATIVE):
                return None
            node = int(self.child[node]) + (step == POSITIVE)
        return node

    def leaves(self, matrix: Matrix) -> Iterator[tuple[slice, slice, Nodes]]:
        """Walk rows down all trees.

        Parameters
        ----------
        matrix : ndarray of float64, shape (n, n_predictors)
            Numbers and codes of categories; NaN is missing.

        Yields
        ------
        rows, trees : slice
            Together they cover all rows and trees once.
        leaves : ndarray of int64, shape (trees, rows)
            The nodes at which the rows end.
        """
        for start in range(0, len(matrix), _BLOCK):
            block = _Block.of(matrix[start : start + _BLOCK])
            rows = slice(start, start + len(block.base))
            step = max(1, _BLOCK // len(block.base))
            for first in range(0, len(self), step):
                trees = slice(first, first + step)
                yield rows, trees, self._descend(trees, block)

    def all_leaves(self, matrix: Matrix) -> Nodes:
        """Return the leaves of :meth:`leaves` as one array, shape (n_trees, n)."""
        found = np.empty((len(self), len(matrix)), np.int64)
        for rows, trees, leaves in self.leaves(matrix):
            found[trees, rows] = leaves
        return found

    @cached_property
    def _has_subsets(self) -> bool:
        return bool((self.subset >= 0).any())

    def _descend(self, trees: slice, block: _Block) -> Nodes:
        n_trees, n_rows = len(self.roots[trees]), len(block.base)
        nodes = np.repeat(self.roots[trees], n_rows)
        base = np.tile(block.base, n_trees) if n_trees > 1 else block.base
        for _ in range(int(self.depths[trees].max(initial=0))):
            nodes = self._step(nodes, base, block)
        return nodes.reshape(n_trees, n_rows)

    def _step(self, nodes: Nodes, base: Nodes, block: _Block) -> Nodes:
        """Take each row one node further."""
        cell = self.feature.take(nodes)
        cell += base
        values = block.values.take(cell)
        positive = values > self.threshold.take(nodes)
        if self._has_subsets:
            subset = self.subset.take(nodes)
            tests = np.flatnonzero(subset >= 0)
            member = subset[tests] + values[tests].astype(np.int64)
            positive[tests] = self.members.take(member)
        if block.missing is not None:
            missing = np.flatnonzero(block.missing.take(cell))
            positive[missing] = self.default.take(nodes[missing])
        moved: Nodes = self.child.take(nodes)
        moved += positive
        return moved


@dataclass(frozen=True)
class _Block:
    """Some rows, one after another: row i's features begin at ``base[i]``."""

    values: Matrix
    base: Nodes
    missing: NDArray[np.bool_] | None

    @classmethod
    def of(cls, rows: Matrix) -> _Block:
        values = np.ravel(rows)
        base = np.arange(len(rows), dtype=np.int64) * rows.shape[1]
        missing = np.isnan(values)
        if not missing.any():
            return cls(values, base, None)
        return cls(np.where(missing, 0.0, values), base, missing)
