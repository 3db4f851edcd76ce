"""A forest by scikit-learn, on the driver."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from batch_layer.apps.forest.bins import Categorical, Feature, Numeric, binned, target_sums
from batch_layer.apps.forest.grown import Fit, Grown, larger_is_positive
from common.apps.forest.layout import Tree
from common.apps.forest.trees import Matrix, Nodes


def grow(
    rows: Matrix, targets: Matrix, arities: Sequence[int], n_classes: int, how: Fit
) -> list[Grown]:
    """Grow trees; where values are missing the trees learn which way they go.

    Parameters
    ----------
    rows : ndarray of float64, shape (n, n_features)
        Numbers and codes of categories; NaN is missing.
    targets : ndarray of float64, shape (n,)
        Numbers, or codes of classes.
    arities : sequence of int
        For each feature the number of its categories; 0 for a numeric one.
    n_classes : int
        0 for a regression.
    how : Fit
        See there.
    """
    features = _features(rows, targets, arities, n_classes, how)
    bins = binned(features, rows)
    forest = _forest(rows.shape[1], n_classes, how).fit(bins, targets)
    learnt = np.array([np.isnan(column).any() for column in bins.T])
    reader = _Reader(features, learnt, forest, n_classes)
    min_gain = how.min_gain * (float(np.var(targets)) if how.impurity == "variance" else 1.0)
    return [reader.grown(one.tree_).cut(min_gain) for one in forest.estimators_]


def _features(
    rows: Matrix, targets: Matrix, arities: Sequence[int], n_classes: int, how: Fit
) -> list[Feature]:
    random = np.random.default_rng(how.seed)

    def feature(at: int, arity: int) -> Feature:
        if not arity:
            return Numeric.of(rows[:, at], how.max_split_candidates, random)
        sums, counts = target_sums(rows[:, at], targets, arity, n_classes)
        return Categorical.of(sums, counts, how.max_split_candidates)

    return [feature(at, arity) for at, arity in enumerate(arities)]


def _forest(n_features: int, n_classes: int, how: Fit) -> Any:
    """Return the library's forest; a node looks at as many features as in MLlib."""
    # 78 MB and a second, which growing by MLlib does not need.
    from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

    share = math.sqrt(n_features) if n_classes else n_features / 3
    library = RandomForestClassifier if n_classes else RandomForestRegressor
    return library(
        n_estimators=how.num_trees,
        criterion="squared_error" if how.impurity == "variance" else how.impurity,
        max_depth=how.max_depth,
        min_samples_leaf=how.min_node_size,
        max_features=n_features if how.num_trees == 1 else math.ceil(share),
        random_state=how.seed,
        n_jobs=how.threads,
    )


class _Reader:
    """Reads the library's trees, whose tests are of bins.

    Parameters
    ----------
    features : sequence of Feature
        How bins were made.
    learnt : ndarray of bool, shape (n_features,)
        Where values were missing, so that the trees know where to send them.
    forest : RandomForestClassifier or RandomForestRegressor
        As it was fitted.
    n_classes : int
        0 for a regression.
    """

    def __init__(
        self, features: Sequence[Feature], learnt: NDArray[np.bool_], forest: Any, n_classes: int
    ) -> None:
        self._features = features
        self._learnt = learnt
        self._forest = forest
        self._n_classes = n_classes

    def grown(self, library: Any) -> Grown:
        """Return one tree, its gains in nats where the impurity is an entropy."""
        inner = library.children_left >= 0
        feature = np.where(inner, library.feature, -1).astype(np.int64)
        counts = library.weighted_n_node_samples
        thresholds, subsets = self._tests(feature, library.threshold)
        tree = Tree(
            feature=feature,
            threshold=thresholds,
            negative=np.where(inner, library.children_left, 0).astype(np.int64),
            positive=np.where(inner, library.children_right, 0).astype(np.int64),
            default=np.zeros(len(feature), np.bool_),
            totals=self._totals(library.value[:, 0, :], counts),
            subsets=subsets,
        )
        tree = larger_is_positive(tree, counts)
        learnt = inner & self._learnt[feature]
        default = np.where(learnt, library.missing_go_to_left == 0, tree.default)
        return Grown(replace(tree, default=default), counts, self._gains(tree, library, inner))

    def _tests(self, feature: Nodes, bins: Matrix) -> tuple[Matrix, dict[int, NDArray[np.bool_]]]:
        """Return thresholds of numbers and sets of categories for thresholds between bins."""
        thresholds = np.full(len(feature), np.inf)
        subsets = {}
        for at, kind in enumerate(self._features):
            nodes = np.flatnonzero(feature == at)
            if isinstance(kind, Categorical):
                subsets.update({node: kind.above(bins[node]) for node in nodes.tolist()})
            else:
                thresholds[nodes] = kind.thresholds(bins[nodes])
        return thresholds, subsets

    def _totals(self, values: Matrix, counts: Matrix) -> Matrix:
        if not self._n_classes:
            return np.column_stack([counts, values[:, 0]])
        totals = np.zeros((len(values), self._n_classes))
        # The library keeps shares; what they are shares of are whole numbers.
        codes = self._forest.classes_.astype(np.int64)
        totals[:, codes] = np.rint(values * counts[:, np.newaxis])
        return totals

    def _gains(self, tree: Tree, library: Any, inner: NDArray[np.bool_]) -> Matrix:
        weighted = library.weighted_n_node_samples * library.impurity
        below = weighted[tree.negative] + weighted[tree.positive]
        gains = np.where(inner, (weighted - below) / library.weighted_n_node_samples, 0.0)
        return gains * math.log(2) if self._forest.criterion == "entropy" else gains
