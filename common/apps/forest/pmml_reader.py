"""Reading a forest's PMML, ours or Oryx's; documents of other tools are the app ``pmml``'s."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from lxml import etree
from numpy.typing import NDArray

from common.apps.forest.layout import Tree, lay_out
from common.apps.forest.model import ForestModel, Leaves, Parameters
from common.apps.forest.trees import NEGATIVE, POSITIVE, ROOT, Matrix
from common.pmml.documents import PmmlError, parse, read_timestamp
from common.pmml.predicates import field_of, read_members, read_threshold
from common.records.pmml_fields import Fields, read_fields, require_schema
from common.records.schema import InputSchema

#: Oryx's names of the weighted mean of the trees' scores, and ours.
_METHODS = ("weightedMajorityVote", "weightedAverage")
_ELSEWHERE = 'serve a document of another tool with app = "pmml"'


def read_forest_pmml(document: str | bytes, schema: InputSchema) -> ForestModel:
    """Read a forest and compare it with the configured schema.

    Raises
    ------
    PmmlError
        If it is not PMML, not a forest that Oryx or we could have written, or of another
        schema.
    """
    root = parse(document)
    model, trees, weights = _tree_models(root)
    fields = read_fields(root, model)
    require_schema(fields.schema, schema)
    if schema.target is None:
        message = "a forest predicts a target: set input_schema.target_feature"
        raise PmmlError(message)
    function = "classification" if schema.is_classification else "regression"
    if model.get("functionName") != function:
        message = f"the model's function is {model.get('functionName')!r}, not {function!r}"
        raise PmmlError(message)
    if schema.is_classification and not fields.categories[schema.target]:
        message = f"the data dictionary lists no class of the target {schema.target!r}"
        raise PmmlError(message)
    reader = _Reader(fields)
    laid, totals = lay_out([reader.tree(tree) for tree in trees], weights)
    return ForestModel(
        # The configured schema tells ids from ignored features.
        fields=Fields(schema, fields.categories, fields.importances),
        parameters=_parameters(root),
        trees=laid,
        leaves=Leaves(totals, schema.is_classification),
        timestamp=read_timestamp(root),
    )


def _tree_models(
    root: etree._Element,
) -> tuple[etree._Element, list[etree._Element], Matrix]:
    """Return the model, its trees, and their weights."""
    models = [e for e in root if _name(e) in ("TreeModel", "MiningModel")]
    if len(models) != 1:
        message = f"PMML has {len(models)} tree and mining models, not one; {_ELSEWHERE}"
        raise PmmlError(message)
    model = models[0]
    if _name(model) == "TreeModel":
        return model, models, np.ones(1)
    segmentation = model.find("{*}Segmentation", None)
    method = None if segmentation is None else segmentation.get("multipleModelMethod")
    if segmentation is None or method not in _METHODS:
        message = f"PMML puts its trees together by {method!r}; {_ELSEWHERE}"
        raise PmmlError(message)
    segments = segmentation.findall("{*}Segment", None)
    trees = [tree for s in segments if (tree := s.find("{*}TreeModel", None)) is not None]
    if len(trees) < len(segments) or not trees:
        message = f"PMML has {len(segments)} segments and {len(trees)} trees in them"
        raise PmmlError(message)
    weights = np.array([_number(segment, "weight", "1") for segment in segments])
    if not weights.sum() > 0:
        message = "the weights of PMML's segments add up to nothing"
        raise PmmlError(message)
    return model, trees, weights


def _parameters(root: etree._Element) -> Parameters:
    extensions = {e.get("name"): e.get("value", "") for e in root.findall("{*}Extension", None)}
    try:
        return Parameters(
            max_depth=int(extensions["maxDepth"]),
            max_split_candidates=int(extensions["maxSplitCandidates"]),
            impurity=extensions["impurity"],
        )
    except (KeyError, ValueError) as error:
        message = f"PMML lacks an extension of a forest, or it has a bad value: {error}"
        raise PmmlError(message) from error


@dataclass
class _Growing:
    """A tree's nodes as they are read, the root first."""

    feature: list[int] = field(default_factory=list)
    threshold: list[float] = field(default_factory=list)
    negative: list[int] = field(default_factory=list)
    positive: list[int] = field(default_factory=list)
    default: list[bool] = field(default_factory=list)
    totals: list[Sequence[float]] = field(default_factory=list)
    subsets: dict[int, NDArray[np.bool_]] = field(default_factory=dict)

    def add(self) -> int:
        """Append a leaf that has seen nothing and return its number."""
        self.feature.append(-1)
        self.threshold.append(math.inf)
        self.negative.append(0)
        self.positive.append(0)
        self.default.append(False)
        self.totals.append(())
        return len(self.feature) - 1

    def done(self, width: int) -> Tree:
        """Return the tree; `width` is that of its totals."""
        nothing = (0.0,) * width
        return Tree(
            np.array(self.feature, np.int64),
            np.array(self.threshold),
            np.array(self.negative, np.int64),
            np.array(self.positive, np.int64),
            np.array(self.default),
            np.array([total or nothing for total in self.totals]),
            self.subsets,
        )


class _Reader:
    """Reads the trees of one model."""

    def __init__(self, fields: Fields) -> None:
        schema = fields.schema
        self._features = {name: at for at, name in enumerate(schema.predictors)}
        self._codes = {
            name: {value: code for code, value in enumerate(values)}
            for name, values in fields.categories.items()
        }
        self._classes = self._codes[schema.target or ""] if schema.is_classification else None
        self._width = 2 if self._classes is None else len(self._classes)

    def tree(self, model: etree._Element) -> Tree:
        """Read a TreeModel."""
        root = model.find("{*}Node", None)
        if root is None or root.get("id") != ROOT:
            message = f"the root of a tree is not a node {ROOT!r}; {_ELSEWHERE}"
            raise PmmlError(message)
        growing = _Growing()
        waiting = [(root, growing.add())]
        while waiting:
            element, number = waiting.pop()
            children = element.findall("{*}Node", None)
            if children:
                _require_two(element, children)
                self._split(element, children, growing, number)
                waiting.append((children[0], growing.positive[number]))
                waiting.append((children[1], growing.negative[number]))
            else:
                growing.totals[number] = self._total(element)
        return growing.done(self._width)

    def _split(
        self,
        element: etree._Element,
        children: Sequence[etree._Element],
        growing: _Growing,
        number: int,
    ) -> None:
        growing.positive[number] = growing.add()
        growing.negative[number] = growing.add()
        growing.default[number] = _default_is_positive(element, children)
        predicate = _predicate(children[0])
        name = field_of(predicate)
        if name not in self._features:
            message = f"node {children[0].get('id')!r} tests {name!r}, which is no predictor"
            raise PmmlError(message)
        growing.feature[number] = self._features[name]
        if name in self._codes:
            growing.subsets[number] = read_members(predicate, self._codes[name])
        else:
            growing.threshold[number] = read_threshold(predicate)

    def _total(self, leaf: etree._Element) -> Sequence[float]:
        if self._classes is None:
            return _number(leaf, "recordCount", "0"), _real(leaf, "score")
        counts = [0.0] * self._width
        for distribution in leaf.findall("{*}ScoreDistribution", None):
            value = distribution.get("value", "")
            if value not in self._classes:
                message = f"leaf {leaf.get('id')!r} scores {value!r}, which is no class"
                raise PmmlError(message)
            counts[self._classes[value]] = _number(distribution, "recordCount")
        return counts


def _require_two(element: etree._Element, children: Sequence[etree._Element]) -> None:
    """Refuse nodes whose ids and order are not Oryx's: updates would reach the wrong leaf."""
    id_ = element.get("id", "")
    ids = [child.get("id") for child in children]
    if ids != [id_ + POSITIVE, id_ + NEGATIVE]:
        message = f"node {id_!r} has other children than {id_}+ and {id_}-: {ids}; {_ELSEWHERE}"
        raise PmmlError(message)


def _predicate(node: etree._Element) -> etree._Element:
    found = next((e for e in node if _name(e).endswith("Predicate")), None)
    if found is None:
        message = f"node {node.get('id')!r} has no test; {_ELSEWHERE}"
        raise PmmlError(message)
    return found


def _default_is_positive(element: etree._Element, children: Sequence[etree._Element]) -> bool:
    """Read the default child; the larger where none is given, the negative if they tie."""
    given = element.get("defaultChild")
    ids = [child.get("id") for child in children]
    if given in ids:
        return given == ids[0]
    if given is not None:
        message = f"node {element.get('id')!r} has no child {given!r} to be its default"
        raise PmmlError(message)
    positive, negative = (_number(child, "recordCount", "0") for child in children)
    return positive > negative


def _number(element: etree._Element, name: str, default: str | None = None) -> float:
    number = _real(element, name, default)
    if number < 0:
        message = f"{_name(element)} has {name} = {number}; it cannot be negative"
        raise PmmlError(message)
    return number


def _real(element: etree._Element, name: str, default: str | None = None) -> float:
    text = element.get(name, default)
    try:
        number = float(text or "")
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        message = f"{_name(element)} has {name} = {text!r}; it must be a finite number"
        raise PmmlError(message)
    return number


def _name(element: etree._Element) -> str:
    return etree.QName(element).localname
