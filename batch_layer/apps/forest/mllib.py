"""A forest by Spark's MLlib, on the executors."""

from __future__ import annotations

import math
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyspark.sql import functions as F
from pyspark.storagelevel import StorageLevel

from batch_layer.apps.forest.grown import Fit, Grown, larger_is_positive
from batch_layer.examples.examples import SparkExamples
from common.apps.forest.layout import Tree
from common.apps.forest.trees import Matrix
from common.records.encoding import Encoding

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

#: Examples in which the usual value of a feature is looked for.
_SAMPLE = 20_000


def grow(examples: SparkExamples, encoding: Encoding, how: Fit) -> list[Grown]:
    """Grow trees.

    MLlib cannot learn from missing values: a number that is missing becomes the feature's
    median, a category the most frequent one, which mostly go to the larger child too.
    """
    shape = _Shape.of(examples, encoding)
    usual = _usual(examples.sample(_SAMPLE, how.seed), encoding, shape)
    columns = [*shape.predictors, shape.target]

    def encode(part: pa.RecordBatch) -> Matrix:
        rows, _ = encoding.encode(part, columns)
        predictors = rows[:, :-1]
        np.copyto(predictors, usual, where=np.isnan(predictors))
        return rows

    vectors = examples.vectors(encode, with_label=True)
    table = _described(vectors, shape).persist(StorageLevel.MEMORY_AND_DISK)
    try:
        variance = 1.0
        if how.impurity == "variance":
            variance = table.agg(F.var_pop("label")).collect()[0][0]
        model = _forest(shape, how, how.min_gain * variance).fit(table)
    finally:
        table.unpersist()
    return [_grown(nodes, shape, how) for nodes in _nodes(model, table.sparkSession, how.scratch)]


@dataclass(frozen=True)
class _Shape:
    """What MLlib has to know of the features.

    Attributes
    ----------
    predictors : tuple of str
        Their names.
    target : str
        Its name.
    arities : tuple of int
        For each predictor the number of its categories; 0 for a numeric one.
    n_classes : int
        0 for a regression.
    """

    predictors: tuple[str, ...]
    target: str
    arities: tuple[int, ...]
    n_classes: int

    @classmethod
    def of(cls, examples: SparkExamples, encoding: Encoding) -> _Shape:
        target, predictors = str(examples.schema.target), examples.schema.predictors
        sizes = {name: len(found) for name, found in encoding.categories.items()}
        arities = tuple(sizes.get(name, 0) for name in predictors)
        return cls(predictors, target, arities, sizes.get(target, 0))


def _usual(sample: pa.RecordBatch, encoding: Encoding, shape: _Shape) -> Matrix:
    """Return each predictor's median, or the code of its most frequent category."""
    rows, _ = encoding.encode(sample, shape.predictors)
    usual = np.zeros(len(shape.arities))
    for at, arity in enumerate(shape.arities):
        present = rows[~np.isnan(rows[:, at]), at]
        if len(present):
            counts = np.bincount(present.astype(np.int64)) if arity else present
            usual[at] = counts.argmax() if arity else np.median(present)
    return usual


def _described(vectors: DataFrame, shape: _Shape) -> DataFrame:
    """Tell MLlib which features are categories, and how many there are."""
    nominal = [{"idx": at, "num_vals": n} for at, n in enumerate(shape.arities) if n]
    numeric = [{"idx": at} for at, n in enumerate(shape.arities) if not n]
    attributes = {"nominal": nominal, "numeric": numeric}
    features = {"ml_attr": {"attrs": attributes, "num_attrs": len(shape.arities)}}
    # MLlib takes no target of one class alone.
    label = {"ml_attr": {"type": "nominal", "num_vals": max(2, shape.n_classes)}}
    return vectors.select(
        F.col("features").alias("features", metadata=features),
        F.col("label").alias("label", metadata=label if shape.n_classes else {}),
    )


def _forest(shape: _Shape, how: Fit, min_gain: float) -> Any:
    # What brings pandas with it, 50 MB, stays out of the executors' workers, which import this
    # module for its functions.
    from pyspark.ml.classification import RandomForestClassifier
    from pyspark.ml.regression import RandomForestRegressor

    library = RandomForestClassifier if shape.n_classes else RandomForestRegressor
    return library(
        numTrees=how.num_trees,
        maxDepth=how.max_depth,
        # MLlib has a bin for each category.
        maxBins=max(how.max_split_candidates, *shape.arities),
        impurity=how.impurity,
        minInstancesPerNode=how.min_node_size,
        # MLlib's entropy is in bits.
        minInfoGain=min_gain / math.log(2) if how.impurity == "entropy" else min_gain,
        seed=how.seed,
    )


def _nodes(model: Any, spark: SparkSession, scratch: str) -> list[pa.StructArray]:
    """Return each tree's nodes; MLlib gives them out in what it saves alone."""
    folder = f"{scratch}/.forest-{uuid.uuid4().hex}"
    model.write().save(folder)
    try:
        saved = spark.read.parquet(f"{folder}/data").toArrow()
    finally:
        _delete(spark, folder)
    return _by_tree(saved)


def _by_tree(saved: pa.Table) -> list[pa.StructArray]:
    """Split what MLlib has saved into trees, the nodes of each in the order of their ids."""
    tree, nodes = saved["treeID"].to_numpy(), saved["nodeData"].combine_chunks()
    order = np.lexsort((nodes.field("id").to_numpy(), tree))
    nodes = nodes.take(pa.array(order))
    firsts = np.flatnonzero(np.diff(tree[order], prepend=-1)).tolist()
    ends = [*firsts[1:], len(nodes)]
    return [nodes[first:end] for first, end in zip(firsts, ends, strict=True)]


def _delete(spark: SparkSession, folder: str) -> None:
    """Delete a folder wherever Spark has written it."""
    jvm: Any = spark._jvm
    path = jvm.org.apache.hadoop.fs.Path(folder)
    path.getFileSystem(spark._jsc.hadoopConfiguration()).delete(path, True)


def _grown(nodes: pa.StructArray, shape: _Shape, how: Fit) -> Grown:
    """Return a tree for MLlib's nodes, which are in the order of their ids."""
    left = nodes.field("leftChild").to_numpy().astype(np.int64)
    right = nodes.field("rightChild").to_numpy().astype(np.int64)
    inner = left >= 0
    splits = nodes.field("split").to_pylist()
    feature = np.array([split["featureIndex"] for split in splits], np.int64)
    stats = np.array(nodes.field("impurityStats").to_pylist())
    totals = _totals(stats, shape.n_classes)
    counts = totals.sum(axis=1) if shape.n_classes else totals[:, 0]
    tests = [split["leftCategoriesOrThreshold"] for split in splits]
    is_category = [n for n in np.flatnonzero(inner).tolist() if shape.arities[feature[n]]]
    tree = Tree(
        feature=np.where(inner, feature, -1),
        threshold=np.array([test[0] if test else math.inf for test in tests]),
        negative=np.where(inner, left, 0),
        positive=np.where(inner, right, 0),
        default=np.zeros(len(nodes), np.bool_),
        totals=totals,
        subsets={n: _positive(tests[n], shape.arities[feature[n]]) for n in is_category},
    )
    gains = np.where(inner, nodes.field("gain").to_numpy(), 0.0)
    if how.impurity == "entropy":
        gains *= math.log(2)
    return Grown(larger_is_positive(tree, counts), counts, gains)


def _totals(stats: Matrix, n_classes: int) -> Matrix:
    """Return counts of classes, or numbers and means for MLlib's number, sum, sum of squares."""
    if n_classes:
        return stats[:, :n_classes]
    return np.column_stack([stats[:, 0], stats[:, 1] / stats[:, 0]])


def _positive(left: list[float], arity: int) -> NDArray[np.bool_]:
    positive = np.ones(arity, np.bool_)
    positive[np.array(left, np.int64)] = False
    return positive
