"""The random forest in the batch layer: train, evaluate, and write a generation's model."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from typing import Any

from batch_layer.api import BatchContext
from batch_layer.apps.forest.evaluation import MAX_EXAMPLES, evaluate
from batch_layer.apps.forest.fit import fit
from batch_layer.apps.forest.grown import Fit
from batch_layer.examples.examples import TrainingExamples
from batch_layer.examples.update import ExampleUpdate
from batch_layer.search.hyperparams import Values, values_in, values_of
from batch_layer.search.training import Split
from batch_layer.search.trials import Candidate, Evaluation
from common.apps.forest.model import ForestModel
from common.apps.forest.pmml import write_forest_pmml
from common.apps.forest.settings import Hyperparams, schema_of
from common.config import ConfigError, Settings
from common.config.keys import number_limits

#: All of them but the impurity, whose default depends on the target.
_NUMBERS = ("max_split_candidates", "max_depth", "min_node_size", "min_info_gain_nats")
#: A depth drawn around a value may be above it.
_, _MAX_DEPTH = number_limits(Hyperparams.model_fields["max_depth"])


class Batch(ExampleUpdate[ForestModel]):
    """A random forest by Oryx's rules of split and evaluation."""

    def __init__(self, settings: Settings) -> None:
        schema = schema_of(settings)
        super().__init__(settings, settings.section("forest"), schema, [str(schema.target)])
        self._impurities = _impurities(self.table, schema.is_classification)

    def hyperparameters(self) -> Mapping[str, Values]:
        """Return how trees are grown, all but their number."""
        values = values_in("forest.hyperparams", self.table.hyperparams, _NUMBERS)
        return {**values, "impurity": values_of("forest.hyperparams.impurity", self._impurities)}

    def build_model(
        self, context: BatchContext, train: TrainingExamples, candidate: Candidate
    ) -> ForestModel:
        """Grow a forest, and write ``model.pmml``."""
        model = fit(train, self._fit(candidate), context.timestamp)
        (candidate.directory / self.model_file).write_bytes(write_forest_pmml(model))
        return model

    def evaluate(
        self, context: BatchContext, model: ForestModel, split: Split[TrainingExamples]
    ) -> Evaluation:
        """Evaluate by accuracy or the negative root mean squared error (Oryx's rule)."""
        if split.test is None:
            return Evaluation(math.nan)
        return evaluate(model, split.test.sample(MAX_EXAMPLES, self.settings.ml.seed))

    def _fit(self, candidate: Candidate) -> Fit:
        forest, chosen = self.table, candidate.hyperparameters
        cores = forest.threads or os.cpu_count() or 1
        return Fit(
            num_trees=forest.num_trees,
            max_depth=int(min(chosen["max_depth"], _MAX_DEPTH)),
            max_split_candidates=int(chosen["max_split_candidates"]),
            impurity=chosen["impurity"],
            min_node_size=int(chosen["min_node_size"]),
            min_gain=float(chosen["min_info_gain_nats"]),
            seed=candidate.seed,
            # Candidates that are built at once share the cores.
            threads=max(1, cores // self.settings.ml.eval.parallelism),
            # The executors reach it: the history is there.
            scratch=self.settings.batch.storage.data_dir,
        )


def _impurities(table: Any, classification: bool) -> str | list[str]:
    """Return the impurities to try; raises ConfigError for one of the other kind of target."""
    given: str | list[str] | None = table.hyperparams.impurity
    if given is None:
        return "entropy" if classification else "variance"
    fitting = ["entropy", "gini"] if classification else ["variance"]
    if not set([given] if isinstance(given, str) else given) <= set(fitting):
        target = "category" if classification else "number"
        message = (
            f"forest.hyperparams.impurity = {given!r}, but the target is a {target}: "
            f"{' or '.join(fitting)}"
        )
        raise ConfigError(message)
    return given
