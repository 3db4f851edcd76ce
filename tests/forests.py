"""Forests to test with: grown at random, and Oryx's fixture of two trees."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from common.apps.forest.layout import Tree, lay_out
from common.apps.forest.model import ForestModel, Leaves, Parameters
from common.records.pmml_fields import Fields
from common.records.schema import InputSchema

COLOURS = ("red", 'deep "blue"', "sea green", "back\\slash", "<&>", "grün")
CLASSES = ("no", "may be", "yes")
PARAMETERS = Parameters(max_depth=5, max_split_candidates=100, impurity="gini")


def schema(classification: bool = True) -> InputSchema:
    """Return a schema of an id, two numbers, a colour, an ignored field, and the target."""
    numeric = {"width", "height"}
    return InputSchema(
        names=("id", "width", "colour", "height", "note", "target"),
        ids=frozenset({"id"}),
        ignored=frozenset({"note"}),
        numeric=frozenset(numeric if classification else numeric | {"target"}),
        categorical=frozenset({"colour", "target"} if classification else {"colour"}),
        target="target",
    )


def fields(classification: bool = True) -> Fields:
    categories = {"colour": COLOURS, "target": CLASSES} if classification else {"colour": COLOURS}
    importances = {"width": 0.5, "colour": 0.25, "height": 0.25}
    return Fields(schema(classification), categories, importances)


def random_tree(random: np.random.Generator, classification: bool, depth: int) -> Tree:
    """Grow a full tree with nodes in the order of a heap, some cut short."""
    n = 2 ** (depth + 1) - 1
    inner = np.arange(n) < n // 2
    inner[1:] &= random.random(n - 1) < 0.85
    feature = np.where(inner, random.integers(0, 3, n), -1)
    subsets = {}
    for node in np.flatnonzero(feature == 1).tolist():
        subsets[node] = random.permutation(np.arange(len(COLOURS)) < random.integers(1, 5))
    if classification:
        totals = random.integers(0, 9, (n, len(CLASSES))).astype(float)
        totals[:, 1] += 1
    else:
        totals = np.column_stack([random.integers(1, 50, n).astype(float), random.normal(size=n)])
    return Tree(
        feature=feature,
        threshold=random.normal(size=n),
        negative=2 * np.arange(n) + 1,
        positive=2 * np.arange(n) + 2,
        default=random.random(n) < 0.5,
        totals=totals,
        subsets=subsets,
    )


def random_model(
    seed: int = 1, classification: bool = True, n_trees: int = 7, depth: int = 5
) -> ForestModel:
    random = np.random.default_rng(seed)
    grown = [random_tree(random, classification, depth) for _ in range(n_trees)]
    trees, totals = lay_out(grown, np.arange(1.0, n_trees + 1))
    leaves = Leaves(totals, classification)
    return ForestModel(fields(classification), PARAMETERS, trees, leaves, 1_700_000_000_000)


def random_rows(seed: int, n: int, missing: float = 0.1) -> NDArray[np.float64]:
    """Draw encoded rows for :func:`random_model`; a share of the cells is missing."""
    random = np.random.default_rng(seed)
    rows = np.column_stack(
        [random.normal(size=n), random.integers(0, len(COLOURS), n), random.normal(size=n)]
    )
    rows[random.random(rows.shape) < missing] = np.nan
    return rows


def stump(feature: int, threshold: float, totals: list[list[float]], default: bool) -> Tree:
    """Return a tree of one numeric test; `totals` of the negative and the positive leaf."""
    return Tree(
        feature=np.array([feature, -1, -1]),
        threshold=np.array([threshold, 0.0, 0.0]),
        negative=np.array([1, 0, 0]),
        positive=np.array([2, 0, 0]),
        default=np.array([default, False, False]),
        totals=np.array([[0.0] * len(totals[0]), *totals]),
    )


def oryx_model() -> ForestModel:
    """Return Oryx's regression fixture: feature 0 in B to 10, else 1; feature 1 >= -3 to 1000."""
    by_category = stump(0, np.inf, [[1, 1.0], [1, 10.0]], default=True)
    by_category.subsets[0] = np.array([False, True])  # type: ignore[index]
    by_number = stump(1, np.nextafter(-3.0, -np.inf), [[1, 100.0], [1, 1000.0]], default=True)
    trees, totals = lay_out([by_category, by_number], np.array([1.0, 2.0]))
    fixture = InputSchema(
        names=("0", "1", "2"),
        ids=frozenset(),
        ignored=frozenset(),
        numeric=frozenset({"1", "2"}),
        categorical=frozenset({"0"}),
        target="2",
    )
    described = Fields(fixture, {"0": ("A", "B")}, {"0": 0.1, "1": 0.3})
    return ForestModel(
        described, Parameters(1, 100, "variance"), trees, Leaves(totals, classification=False)
    )
