"""Growing a forest with the library that belongs to where the examples are."""

from __future__ import annotations

from batch_layer.apps.forest.grown import Fit, assemble
from batch_layer.apps.forest.mllib import grow as grow_mllib
from batch_layer.apps.forest.sklearn import grow as grow_sklearn
from batch_layer.examples.examples import LocalExamples, TrainingExamples
from common.apps.forest.model import ForestModel, Parameters
from common.records.pmml_fields import Fields


def fit(examples: TrainingExamples, how: Fit, timestamp: int) -> ForestModel:
    """Grow a forest.

    Parameters
    ----------
    examples : TrainingExamples
        At least one; no target is missing.
    how : Fit
        See there.
    timestamp : int
        Milliseconds since 1970, for the model.
    """
    schema, encoding = examples.schema, examples.encoding()
    target = str(schema.target)
    arities = [len(encoding.categories.get(name, ())) for name in schema.predictors]
    n_classes = len(encoding.categories.get(target, ()))
    if isinstance(examples, LocalExamples):
        rows, _ = encoding.encode(examples.table, schema.predictors)
        targets, _ = encoding.encode(examples.table, [target])
        grown = grow_sklearn(rows, targets[:, 0], arities, n_classes, how)
    else:
        grown = grow_mllib(examples, encoding, how)
    trees, leaves, importances = assemble(grown, len(arities), schema.is_classification)
    named = dict(zip(schema.predictors, importances.tolist(), strict=True))
    return ForestModel(
        fields=Fields(schema, encoding.categories, named),
        parameters=Parameters(how.max_depth, how.max_split_candidates, how.impurity),
        trees=trees,
        leaves=leaves,
        timestamp=timestamp,
    )
