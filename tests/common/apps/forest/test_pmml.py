"""Forests as PMML: read back the same, valid, and scored alike by another evaluator."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from lxml import etree
from numpy.typing import NDArray

from common.apps.forest.model import ForestModel
from common.apps.forest.pmml import record_counts, write_forest_pmml
from common.apps.forest.pmml_reader import read_forest_pmml
from common.pmml.documents import PmmlError
from common.records.schema import InputSchema
from tests.forests import COLOURS, random_model, random_rows
from tests.pmml_check import schema_errors, scores

KINDS = [
    pytest.param(dict(classification=c, n_trees=n), id=f"{'classes' if c else 'numbers'}-{n}")
    for c in (True, False)
    for n in (1, 7)
]


def raw(rows: NDArray[np.float64]) -> list[dict[str, Any]]:
    """Return encoded rows as their readers get them; an unseen colour for half the missing."""
    found = []
    for at, (width, colour, height) in enumerate(rows.tolist()):
        row: dict[str, Any] = {"width": width, "height": height}
        if not np.isnan(colour):
            row["colour"] = COLOURS[int(colour)]
        elif at % 2:
            row["colour"] = "never seen"
        found.append({name: None if value != value else value for name, value in row.items()})
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_a_forest_comes_back_the_same(kind: dict[str, Any]) -> None:
    model = random_model(**kind)
    found = read_forest_pmml(write_forest_pmml(model), model.fields.schema)
    rows = random_rows(2, 300)
    assert np.array_equal(found.predict(rows), model.predict(rows))
    assert found.timestamp == model.timestamp
    assert found.parameters == model.parameters
    assert found.fields.importances == model.fields.importances
    assert found.fields.categories == model.fields.categories
    assert write_forest_pmml(found) == write_forest_pmml(model)


@pytest.mark.integration
@pytest.mark.parametrize("kind", KINDS)
def test_another_evaluator_scores_alike(kind: dict[str, Any]) -> None:
    model = random_model(**kind)
    for leaf in np.unique(model.trees.all_leaves(random_rows(5, 50))).tolist():
        model.leaves.add(leaf, np.array([2.0, 0.5, 0.0][: model.leaves.totals.shape[1]]))
    document = write_forest_pmml(model)
    assert schema_errors(document) == []
    rows = random_rows(3, 1000, missing=0.15)
    found = scores(document, raw(rows))
    assert _matrix(model, found) == pytest.approx(model.predict(rows), abs=1e-6)


def _matrix(model: ForestModel, found: list[dict[str, Any]]) -> NDArray[np.float64]:
    names = [f"probability_{name}" for name in model.classes] or ["predicted_target"]
    return np.array([[row[name] or 0.0 for name in names] for row in found])


def test_the_structure_is_that_of_oryx() -> None:
    model = random_model(n_trees=3)
    root = etree.fromstring(write_forest_pmml(model))
    segments = root.findall(".//{*}Segment", None)
    assert [(s.get("id"), s.get("weight")) for s in segments] == [
        ("0", "1"),
        ("1", "2"),
        ("2", "3"),
    ]
    tree = segments[0].find("{*}TreeModel", None)
    assert tree is not None
    assert tree.get("splitCharacteristic") == "binarySplit"
    assert tree.get("missingValueStrategy") == "defaultChild"
    extensions = [e.get("name") for e in root.findall("{*}Extension", None)]
    assert extensions == ["maxDepth", "maxSplitCandidates", "impurity"]
    inner = [n for n in root.iter("{*}Node") if n.find("{*}Node", None) is not None]
    assert len(inner) > 10
    operators = set()
    for node in inner:
        first, second = node.findall("{*}Node", None)
        assert first.get("id") == f"{node.get('id')}+"
        assert second.get("id") == f"{node.get('id')}-"
        assert node.get("defaultChild") in (first.get("id"), second.get("id"))
        counts = [float(n.get("recordCount", "")) for n in (first, second)]
        assert float(node.get("recordCount", "")) == sum(counts) > 0
        operators.add(first[0].get("operator", first[0].get("booleanOperator")))
    assert operators == {"greaterThan", "isNotIn", "and"}
    leaf = next(n for n in root.iter("{*}Node") if n.get("score") is not None)
    distributions = leaf.findall("{*}ScoreDistribution", None)
    assert [d.get("value") for d in distributions] == ["no", "may be", "yes"]
    assert sum(float(d.get("confidence", "")) for d in distributions) == pytest.approx(1)


def test_a_regressions_leaf_stays_a_real_number() -> None:
    model = random_model(classification=False, n_trees=1)
    scores_ = [
        float(node.get("score", ""))
        for node in etree.fromstring(write_forest_pmml(model)).iter("{*}Node")
        if node.get("score") is not None
    ]
    leaves = np.flatnonzero(model.trees.is_leaf)
    assert sorted(scores_) == sorted(model.leaves.totals[leaves, 1].tolist())


def test_updates_are_in_what_is_written() -> None:
    model, rows = random_model(), random_rows(8, 40)
    before = model.predict(rows)
    for leaf in np.unique(model.trees.all_leaves(rows)).tolist():
        model.leaves.add(leaf, np.array([5.0, 0.0, 0.0]))
    found = read_forest_pmml(write_forest_pmml(model), model.fields.schema)
    assert np.array_equal(found.predict(rows), model.predict(rows))
    assert not np.allclose(found.predict(rows), before)
    assert record_counts(found)[found.trees.roots] == pytest.approx(
        record_counts(model)[model.trees.roots]
    )


def test_oryx_names_and_inclusive_thresholds_are_read() -> None:
    model = random_model(classification=True, n_trees=2)
    text = write_forest_pmml(model).decode()
    text = text.replace('"weightedAverage"', '"weightedMajorityVote"')
    text = text.replace('"greaterThan"', '"greaterOrEqual"').replace("PMML-4_4", "PMML-4_3")
    found = read_forest_pmml(text, model.fields.schema)
    numeric = (~model.trees.is_leaf) & (model.trees.subset < 0)
    assert numeric.sum() > 10
    below = np.nextafter(model.trees.threshold[numeric], -np.inf)
    assert np.array_equal(found.trees.threshold[numeric], below)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("TreeModel", "OtherModel", "0 tree and mining models"),
        ('id="r+"', 'id="1"', "other children than r. and r-"),
        ('<Node id="r"', '<Node id="0"', "root of a tree"),
        ('field="width"', 'field="colour"', "SimplePredicate with the operator 'greaterThan'"),
        ('field="width"', 'field="note"', "tests 'note', which is no predictor"),
        ('operator="greaterThan"', 'operator="equal"', "a test of 'height' is equal"),
        ('booleanOperator="isNotIn"', 'booleanOperator="odd"', "with the operator 'odd'"),
        ("<SimplePredicate", "<True", "has no test"),
        ('<Value value="red"/>', "", "'red', which the dictionary does not list"),
        ('recordCount="', 'recordCount="-', "it cannot be negative"),
        ('functionName="classification"', 'functionName="regression"', "function is 'regression'"),
        ('defaultChild="r+"', 'defaultChild="r"', "no child 'r' to be its default"),
        ('name="maxDepth"', 'name="depth"', "lacks an extension of a forest"),
        ("<ScoreDistribution value=", '<ScoreDistribution value="x" was=', "which is no class"),
    ],
)
def test_what_no_forest_of_ours_is_is_refused(old: str, new: str, words: str) -> None:
    model = random_model(n_trees=1)
    text = write_forest_pmml(model).decode()
    assert old in text
    with pytest.raises(PmmlError, match=words):
        read_forest_pmml(text.replace(old, new), model.fields.schema)


def test_a_target_without_classes_is_refused() -> None:
    model = random_model(n_trees=1)
    text = write_forest_pmml(model).decode()
    for name in model.classes:
        text = text.replace(f'<Value value="{name}"/>', "")
    with pytest.raises(PmmlError, match="no class of the target 'target'"):
        read_forest_pmml(text, model.fields.schema)


def test_a_vote_that_is_not_ours_is_refused() -> None:
    model = random_model()
    text = write_forest_pmml(model).decode().replace('"weightedAverage"', '"max"')
    with pytest.raises(PmmlError, match=r"'max'.*app = \"pmml\""):
        read_forest_pmml(text, model.fields.schema)


def test_a_model_of_another_schema_is_refused() -> None:
    model = random_model()
    other: InputSchema = replace(model.fields.schema, target="colour")
    with pytest.raises(PmmlError, match=r"target is 'target'.*'colour'"):
        read_forest_pmml(write_forest_pmml(model), other)
