"""A forest as PMML: a TreeModel, or a MiningModel of several, as Oryx writes them.

The root is ``r``; a positive child adds ``+`` to its parent's id, stands first and holds the
test; a negative child adds ``-``.  So that other evaluators score as we do, some things differ
from Oryx: the negative child holds the opposite test and not True; every class has its
ScoreDistribution; and the vote is called ``weightedAverage``, since it is the weighted mean of
the leaves' probabilities.  A regression's scores stay real numbers.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from lxml import etree

from common.apps.forest.model import ForestModel
from common.apps.forest.trees import NEGATIVE, POSITIVE, ROOT, Matrix
from common.pmml.documents import new_document, tag, to_bytes
from common.pmml.predicates import write_outside, write_threshold
from common.records.pmml_fields import write_data_dictionary, write_mining_schema


def write_forest_pmml(model: ForestModel) -> bytes:
    """Write a forest as it is now, as PMML 4.4."""
    fields = replace(model.fields, invalid_values="asMissing")
    # Requests ask for it while updates come.
    writer = _Writer(replace(model, fields=fields, leaves=model.leaves.snapshot()))
    root = new_document(timestamp=model.timestamp)
    write_data_dictionary(root, fields)
    if len(model.trees) == 1:
        writer.tree(root, 0)
    else:
        writer.trees(root)
    for name, value in (
        ("maxDepth", model.parameters.max_depth),
        ("maxSplitCandidates", model.parameters.max_split_candidates),
        ("impurity", model.parameters.impurity),
    ):
        etree.SubElement(root, tag("Extension"), name=name, value=str(value))
    return to_bytes(root)


def record_counts(model: ForestModel) -> Matrix:
    """Return for each node how many examples have reached it, shape (n_nodes,)."""
    trees = model.trees
    counts = np.where(trees.is_leaf, model.leaves.counts, 0.0)
    # Children come after their parents.
    for node in np.flatnonzero(~trees.is_leaf)[::-1].tolist():
        child = trees.child[node]
        counts[node] = counts[child] + counts[child + 1]
    return counts


@dataclass(frozen=True)
class _Node:
    number: int
    id: str


class _Writer:
    """Appends the elements of one model."""

    def __init__(self, model: ForestModel) -> None:
        self._model = model
        self._features = model.fields.schema.predictors
        self._is_leaf = model.trees.is_leaf
        self._counts = record_counts(model)
        self._function = "classification" if model.leaves.classification else "regression"

    def trees(self, root: etree._Element) -> None:
        """Append a MiningModel with a segment for each tree."""
        mining = etree.SubElement(root, tag("MiningModel"), functionName=self._function)
        write_mining_schema(mining, self._model.fields)
        segmentation = etree.SubElement(
            mining, tag("Segmentation"), multipleModelMethod="weightedAverage"
        )
        for number, weight in enumerate(self._model.trees.weights.tolist()):
            segment = etree.SubElement(segmentation, tag("Segment"), id=str(number))
            segment.set("weight", _text(weight))
            etree.SubElement(segment, tag("True"))
            self.tree(segment, number)

    def tree(self, parent: etree._Element, number: int) -> None:
        """Append a TreeModel."""
        element = etree.SubElement(
            parent,
            tag("TreeModel"),
            functionName=self._function,
            splitCharacteristic="binarySplit",
            missingValueStrategy="defaultChild",
        )
        alone = len(self._model.trees) == 1
        fields = self._model.fields
        write_mining_schema(element, fields if alone else replace(fields, importances={}))
        root = _Node(int(self._model.trees.roots[number]), ROOT)
        etree.SubElement(self._node(element, root), tag("True"))
        self._fill(element[-1], root)

    def _node(self, parent: etree._Element, node: _Node) -> etree._Element:
        count = _text(float(self._counts[node.number]))
        return etree.SubElement(parent, tag("Node"), id=node.id, recordCount=count)

    def _fill(self, element: etree._Element, node: _Node) -> None:
        """Give a node that has its predicate already its score, or its children."""
        if self._is_leaf[node.number]:
            self._score(element, node.number)
            return
        child = int(self._model.trees.child[node.number])
        positive = _Node(child + 1, node.id + POSITIVE)
        negative = _Node(child, node.id + NEGATIVE)
        default = positive if self._model.trees.default[node.number] else negative
        element.set("defaultChild", default.id)
        for next_ in (positive, negative):
            self._test(self._node(element, next_), node.number, next_ is positive)
            self._fill(element[-1], next_)

    def _test(self, element: etree._Element, node: int, positive: bool) -> None:
        trees = self._model.trees
        name = self._features[trees.feature[node]]
        start = int(trees.subset[node])
        if start < 0:
            write_threshold(element, name, float(trees.threshold[node]), positive)
            return
        categories = self._model.fields.categories[name]
        members = trees.members[start : start + len(categories)].tolist()
        others = [c for c, member in zip(categories, members, strict=True) if not member]
        write_outside(element, name, others, positive)

    def _score(self, element: etree._Element, leaf: int) -> None:
        total = self._model.leaves.totals[leaf].tolist()
        if not self._model.leaves.classification:
            element.set("score", repr(total[1]))
            return
        classes = self._model.classes
        scores = self._model.leaves.scores(np.array([leaf]))[0].tolist()
        element.set("score", classes[int(np.argmax(scores))])
        for value, count, score in zip(classes, total, scores, strict=True):
            distribution = etree.SubElement(element, tag("ScoreDistribution"), value=value)
            distribution.set("recordCount", _text(count))
            distribution.set("confidence", repr(score))
            distribution.set("probability", repr(score))


def _text(number: float) -> str:
    return str(int(number)) if number.is_integer() else repr(number)
