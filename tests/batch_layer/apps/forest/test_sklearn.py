"""Forests by scikit-learn: every setting is honoured, and the arrays say what was grown."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from batch_layer.apps.forest.bins import Categorical, Numeric, target_sums
from batch_layer.apps.forest.grown import Fit, assemble
from batch_layer.apps.forest.sklearn import grow
from common.apps.forest.model import ForestModel, Parameters
from common.apps.forest.pmml import write_forest_pmml
from common.records.pmml_fields import Fields
from tests.forests import schema
from tests.pmml_check import schema_errors, scores

FIT = Fit(
    num_trees=10,
    max_depth=6,
    max_split_candidates=32,
    impurity="entropy",
    min_node_size=5,
    min_gain=0.0,
    seed=1,
    threads=1,
    scratch="",
)
Matrix = NDArray[np.float64]


def examples(n: int = 2000, n_categories: int = 12) -> tuple[Matrix, Matrix, Matrix]:
    """Two numbers and a category; a class, and a number, that depend on all of them."""
    random = np.random.default_rng(3)
    effects = random.permutation(np.linspace(-2, 2, n_categories))
    codes = random.integers(0, n_categories, n)
    rows = np.column_stack([random.normal(size=n), codes, random.normal(size=n)])
    numbers = rows[:, 0] + effects[codes] + 0.5 * random.normal(size=n)
    return rows, (numbers > 0).astype(float), numbers


def forest(
    rows: Matrix, targets: Matrix, n_classes: int, how: Fit, arities: tuple[int, ...] = (0, 12, 0)
) -> ForestModel:
    grown = grow(rows, targets, arities, n_classes, how)
    trees, leaves, importances = assemble(grown, len(arities), n_classes > 0)
    fields = Fields(schema(n_classes > 0), {}, dict(enumerate(importances.tolist())))  # type: ignore[arg-type]
    return ForestModel(fields, Parameters(how.max_depth, 0, how.impurity), trees, leaves)


def test_it_learns_classes_and_numbers() -> None:
    rows, classes, numbers = examples()
    model = forest(rows[:1500], classes[:1500], 2, FIT)
    predicted = model.predict(rows[1500:])
    assert np.mean(predicted.argmax(axis=1) == classes[1500:]) > 0.85
    model = forest(rows[:1500], numbers[:1500], 0, replace(FIT, impurity="variance"))
    predicted = model.predict(rows[1500:])
    assert np.var(predicted[:, 0] - numbers[1500:]) < 0.3 * np.var(numbers)
    importances = list(model.fields.importances.values())
    assert sum(importances) == pytest.approx(1)
    assert importances[2] < 0.1 < importances[0]


def test_a_leaf_has_counted_its_trees_sample() -> None:
    rows, classes, numbers = examples()
    for targets, n_classes, impurity in ((classes, 2, "gini"), (numbers, 0, "variance")):
        model = forest(rows, targets, n_classes, replace(FIT, impurity=impurity))  # type: ignore[arg-type]
        ends = [*model.trees.roots[1:].tolist(), len(model.trees.child)]
        for start, end in zip(model.trees.roots.tolist(), ends, strict=True):
            leaves = model.trees.is_leaf[start:end]
            counts = model.leaves.counts[start:end][leaves]
            assert counts.sum() == len(rows)
            assert (counts == counts.round()).all()


@pytest.mark.parametrize("depth", [1, 3])
def test_depth_is_honoured(depth: int) -> None:
    rows, classes, _ = examples()
    model = forest(rows, classes, 2, replace(FIT, max_depth=depth))
    assert model.trees.depths.max() == depth


def test_no_node_is_too_small() -> None:
    rows, classes, _ = examples()
    model = forest(rows, classes, 2, replace(FIT, min_node_size=100))
    assert model.leaves.counts[model.trees.is_leaf].min() >= 100
    assert model.trees.depths.max() > 1


def test_split_candidates_bound_the_thresholds() -> None:
    rows, classes, _ = examples()
    trees = forest(rows, classes, 2, replace(FIT, max_split_candidates=5)).trees
    for feature in (0, 2):
        thresholds = trees.threshold[(trees.feature == feature) & np.isfinite(trees.threshold)]
        assert 0 < len(np.unique(thresholds)) <= 4
    starts = trees.subset[trees.subset >= 0]
    sets = {tuple(trees.members[start : start + 12].tolist()) for start in starts.tolist()}
    assert 0 < len(sets) <= 4


@pytest.mark.parametrize("impurity", ["entropy", "gini"])
def test_a_gain_that_is_too_small_is_no_split(impurity: str) -> None:
    rows, classes, _ = examples()
    how = replace(FIT, num_trees=5, impurity=impurity, min_gain=0.02)  # type: ignore[arg-type]
    grown = grow(rows, classes, (0, 12, 0), 2, how)
    kept = np.concatenate([one.gains[one.tree.feature >= 0] for one in grown])
    assert len(kept) > 5
    assert kept.min() >= 0.02
    loose = grow(rows, classes, (0, 12, 0), 2, replace(how, min_gain=0.0))
    assert sum((one.tree.feature >= 0).sum() for one in loose) > len(kept)


def test_entropy_is_in_nats() -> None:
    rows = np.repeat([[0.0], [1.0]], 100, axis=0)
    how = replace(FIT, num_trees=1, min_gain=np.log(2) * 0.9)
    [tree] = grow(rows, rows[:, 0], (0,), 2, how)
    assert tree.gains[0] == pytest.approx(np.log(2), abs=0.05)
    [leaf] = grow(rows, rows[:, 0], (0,), 2, replace(how, min_gain=np.log(2) * 1.1))
    assert (leaf.tree.feature < 0).all()


def test_variance_gains_are_a_share_whatever_the_targets_unit() -> None:
    rows, _, numbers = examples()
    how = replace(FIT, impurity="variance", min_gain=0.02)
    sizes = {len(forest(rows, numbers * unit, 0, how).trees.child) for unit in (2**-20, 1.0, 2**20)}
    assert len(sizes) == 1
    assert sizes.pop() > 50


def test_missing_values_go_where_they_did_in_training() -> None:
    rows, classes, _ = examples()
    informative = np.where(classes == 1, np.nan, rows[:, 2])
    rows = np.column_stack([rows[:, :2], informative])
    model = forest(rows, classes, 2, FIT)
    asked = np.array([[0.0, 0.0, np.nan], [0.0, 0.0, 0.5]])
    assert model.predict(asked)[:, 1] == pytest.approx([1, 0], abs=0.35)
    assert np.isfinite(model.trees.threshold[~model.trees.is_leaf & (model.trees.subset < 0)]).all()


@pytest.mark.integration
@pytest.mark.parametrize("n_classes", [2, 0])
def test_another_evaluator_scores_what_was_grown_alike(n_classes: int) -> None:
    rows, classes, numbers = examples()
    rows[np.random.default_rng(4).random(rows.shape) < 0.1] = np.nan
    how = replace(FIT, impurity="gini" if n_classes else "variance")
    grown = grow(rows, classes if n_classes else numbers, (0, 12, 0), n_classes, how)
    trees, leaves = assemble(grown, 3, n_classes > 0)[:2]
    colours = tuple(f"colour {code}" for code in range(12))
    known = {"colour": colours, **({"target": ("no", "yes")} if n_classes else {})}
    fields = Fields(schema(n_classes > 0), known)
    model = ForestModel(fields, Parameters(6, 32, how.impurity), trees, leaves)
    document = write_forest_pmml(model)
    assert schema_errors(document) == []
    asked = [
        {"width": a, "colour": "new" if np.isnan(b) else colours[int(b)], "height": c}
        for a, b, c in rows[:1000].tolist()
    ]
    found = scores(document, [{n: None if v != v else v for n, v in row.items()} for row in asked])
    name = "probability_yes" if n_classes else "predicted_target"
    expected = model.predict(rows[:1000])[:, -1]
    assert [row[name] for row in found] == pytest.approx(expected, abs=1e-6)


def test_what_was_never_missing_takes_the_larger_child() -> None:
    rows, classes, _ = examples()
    for one in grow(rows, classes, (0, 12, 0), 2, FIT):
        inner = one.tree.feature >= 0
        positive = one.counts[one.tree.positive[inner]]
        negative = one.counts[one.tree.negative[inner]]
        assert (one.tree.default[inner] == (positive > negative)).all()


def test_the_same_seed_grows_the_same_whatever_the_threads() -> None:
    rows, classes, _ = examples()
    one, other = (forest(rows, classes, 2, replace(FIT, threads=n)) for n in (1, 2))
    assert np.array_equal(one.leaves.totals, other.leaves.totals)
    assert np.array_equal(one.trees.threshold, other.trees.threshold)


@pytest.mark.parametrize("target", [np.zeros(50), np.ones(50)])
def test_targets_that_are_all_alike_make_leaves(target: Matrix) -> None:
    rows = np.random.default_rng(1).normal(size=(50, 1))
    model = forest(rows, target, 2, FIT, (0,))
    assert model.trees.depths.max() == 0
    assert model.predict(rows[:1])[0, int(target[0])] == 1


def test_numbers_are_binned_at_quantiles() -> None:
    values = np.random.default_rng(2).exponential(size=10_000)
    feature = Numeric.of(values, 10, np.random.default_rng(1))
    counts = np.bincount(feature.bins(values).astype(int))
    assert len(counts) == 10
    assert counts.min() > 900
    nothing = Numeric.of(np.array([np.nan]), 10, np.random.default_rng(1))
    assert nothing.edges.tolist() == []
    few = Numeric.of(np.array([3.0, 1.0, np.nan, 3.0]), 10, np.random.default_rng(1))
    assert few.edges.tolist() == [2.0]
    assert few.bins(np.array([2.0, np.nextafter(2.0, 3.0)])).tolist() == [0, 1]


def test_edges_lie_below_the_upper_of_their_values() -> None:
    close = np.array([1.0, np.nextafter(1.0, 2.0)])
    assert Numeric.of(close, 10, np.random.default_rng(1)).edges.tolist() == [1.0]
    huge = np.array([-1.7e308, 1.7e308])
    assert Numeric.of(huge, 10, np.random.default_rng(1)).edges.tolist() == [0.0]


def test_categories_are_ordered_by_their_targets() -> None:
    codes = np.array([0.0, 0, 1, 1, 2, 2, np.nan])
    numbers = np.array([5.0, 5, 1, 1, 3, 3, 9])
    sums, counts = target_sums(codes, numbers, 4, n_classes=0)
    assert (sums.ravel().tolist(), counts.tolist()) == ([10, 2, 6, 0], [2, 2, 2, 0])
    assert Categorical.of(sums, counts, 10).bin_of.tolist() == [2, 0, 1, 3]
    assert Categorical.of(sums, counts, 2).bin_of.tolist() == [1, 0, 0, 1]


def test_classes_are_counted_for_each_category() -> None:
    sums, counts = target_sums(np.array([0.0, 0, 1, np.nan]), np.array([2.0, 2, 0, 1]), 2, 3)
    assert (sums.tolist(), counts.tolist()) == ([[0, 0, 2], [1, 0, 0]], [2, 1])


def test_three_classes_are_ordered_along_their_greatest_difference() -> None:
    sums = np.array([[90.0, 10, 0], [10, 10, 80], [50, 10, 40], [70, 10, 20]])
    order = Categorical.of(sums, np.full(4, 100), 10).bin_of.tolist()
    assert order in ([0, 3, 2, 1], [3, 0, 1, 2])
