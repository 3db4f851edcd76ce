"""How well a forest predicts examples that it has not seen."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from batch_layer.search.measures import mean_user_auc, root_mean_squared_error
from batch_layer.search.trials import Evaluation
from common.apps.forest.model import ForestModel
from common.apps.forest.settings import encoding_of
from common.apps.forest.trees import Matrix

#: Test examples that are looked at, at most.
MAX_EXAMPLES = 1_000_000

_LEAST_PROBABILITY = 1e-15


def evaluate(model: ForestModel, examples: pa.RecordBatch) -> Evaluation:
    """Evaluate by accuracy, or by the negative root mean squared error (Oryx's rule).

    Classification also has the log loss and, with two classes, the area under the ROC curve;
    an example of a class that the model does not know is a wrong prediction, and is in
    neither of these.
    """
    schema, encoding = model.fields.schema, encoding_of(model)
    scores = model.predict(encoding.encode(examples, schema.predictors)[0])
    targets = encoding.encode(examples, [str(schema.target)])[0][:, 0]
    if not schema.is_classification:
        rmse = root_mean_squared_error(scores[:, 0], targets)
        return Evaluation(-rmse, {"rmse": rmse})
    accuracy = float(np.mean(scores.argmax(axis=1) == targets))
    known = ~np.isnan(targets)
    further = _of_probabilities(scores[known], targets[known].astype(np.int64))
    return Evaluation(accuracy, {"accuracy": accuracy, **further})


def _of_probabilities(
    scores: Matrix, codes: np.ndarray[tuple[int], np.dtype[np.int64]]
) -> dict[str, float]:
    chosen = np.maximum(scores[np.arange(len(codes)), codes], _LEAST_PROBABILITY)
    metrics = {"log_loss": float(-np.mean(np.log(chosen)))} if len(codes) else {}
    if scores.shape[1] == 2 and 0 < codes.sum() < len(codes):
        positive, negative = scores[codes == 1, 1], scores[codes == 0, 1]
        metrics["auc"] = mean_user_auc(_one(positive), positive, _one(negative), negative)
    return metrics


def _one(scores: Matrix) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """All are one user's: the mean over users is the area itself."""
    return np.zeros(len(scores), np.int64)
