"""A forest's walk, votes and totals."""

from __future__ import annotations

import math

import numpy as np
import pytest

from common.apps.forest.model import ForestModel, Leaves
from common.apps.forest.trees import Trees
from tests.forests import oryx_model, random_model, random_rows


def leaf_of(trees: Trees, tree: int, row: list[float], subset_sizes: int) -> int:
    """Walk one row down one tree, step by step."""
    node = int(trees.roots[tree])
    while trees.child[node] != node:
        value = row[trees.feature[node]]
        if math.isnan(value):
            positive = bool(trees.default[node])
        elif trees.subset[node] >= 0:
            assert value < subset_sizes
            positive = bool(trees.members[trees.subset[node] + int(value)])
        else:
            positive = value > trees.threshold[node]
        node = int(trees.child[node]) + positive
    return node


@pytest.mark.parametrize("n_rows", [1, 37, 5000])
@pytest.mark.parametrize("missing", [0.0, 0.2])
def test_rows_walk_together_as_each_would_alone(n_rows: int, missing: float) -> None:
    model = random_model(seed=3)
    rows = random_rows(4, n_rows, missing)
    found = model.trees.all_leaves(rows)
    assert found.shape == (7, n_rows)
    checked = range(0, n_rows, max(1, n_rows // 300))
    for row in checked:
        for tree in range(7):
            assert found[tree, row] == leaf_of(model.trees, tree, rows[row].tolist(), 6)
    assert len(np.unique(found)) > 6
    assert model.trees.is_leaf[found].all()


def test_a_threshold_is_exact() -> None:
    model = random_model(seed=5)
    trees = model.trees
    root = next(int(r) for r in trees.roots if trees.subset[r] < 0 and trees.child[r] != r)
    tree = trees.roots.tolist().index(root)
    threshold = trees.threshold[root]
    rows = np.zeros((2, 3))
    rows[:, trees.feature[root]] = threshold, np.nextafter(threshold, np.inf)
    below, above = trees.all_leaves(rows)[tree]
    assert below != above


def test_a_nodes_id_leads_back_to_it() -> None:
    trees = random_model(seed=8).trees
    owner = np.searchsorted(trees.roots, np.arange(len(trees.child)), side="right") - 1
    paths = [trees.path(node) for node in range(len(trees.child))]
    assert [trees.node(int(tree), path) for tree, path in zip(owner, paths, strict=True)] == list(
        range(len(paths))
    )
    assert len(set(zip(owner.tolist(), paths, strict=True))) == len(paths) > 100
    assert [trees.node(0, path) for path in ("", "x", "r*", "r" + "+" * 9)] == [None] * 4
    assert trees.node(7, "r") is None


def test_oryx_fixture_of_two_regression_trees() -> None:
    model = oryx_model()
    votes = model.predict(np.array([[1.0, 0.0], [0.0, -5.0], [1.0, -3.0], [np.nan, np.nan]]))
    assert votes.ravel() == pytest.approx([2010 / 3, 67.0, 2010 / 3, 2010 / 3])


def test_classification_is_the_weighted_mean_of_the_leaves_probabilities() -> None:
    model, rows = random_model(seed=6), random_rows(7, 50)
    leaves = model.trees.all_leaves(rows)
    shares = model.leaves.totals / model.leaves.totals.sum(axis=1, keepdims=True)
    expected = np.average(shares[leaves], axis=0, weights=np.arange(1, 8))
    votes = model.predict(rows)
    assert votes == pytest.approx(expected)
    assert votes.sum(axis=1) == pytest.approx(1.0)


def test_nothing_to_predict_is_nothing() -> None:
    assert random_model().predict(np.empty((0, 3))).shape == (0, 3)


def test_counts_of_classes_add_up() -> None:
    leaves = Leaves(np.array([[0.0, 1, 3, 0, 4, 0]]), classification=True)
    leaf = np.array([0])
    assert int(leaves.scores(leaf).argmax()) == 4
    leaves.add(0, np.array([0.0, 0, 2, 0, 0, 0]))
    assert int(leaves.scores(leaf).argmax()) == 2
    assert leaves.scores(leaf)[0, 2] == 0.5
    assert leaves.counts.tolist() == [10.0]


def test_means_move_by_their_share() -> None:
    leaves = Leaves(np.array([[2.0, 10.0]]), classification=False)
    leaves.add(0, np.array([3.0, 20.0]))
    assert leaves.totals.tolist() == [[5.0, pytest.approx(16.0)]]
    assert leaves.scores(np.array([0])).tolist() == [[pytest.approx(16.0)]]


def test_votes_weigh() -> None:
    model: ForestModel = oryx_model()
    leaf = model.trees.all_leaves(np.array([[1.0, 0.0]]))[:, 0]
    for node, value in zip(leaf.tolist(), (1.0, 3.25), strict=True):
        model.leaves.replace(node, np.array([1.0, value]))
    assert model.predict(np.array([[1.0, 0.0]])).item() == pytest.approx(2.5)
