"""K-means in the batch layer: train, evaluate, and write a generation's model."""

from __future__ import annotations

from collections.abc import Mapping

from batch_layer.api import BatchContext
from batch_layer.apps.kmeans.evaluation import MAX_SILHOUETTE_POINTS, silhouette, spread
from batch_layer.apps.kmeans.fit import Fit, fit, moments
from batch_layer.examples.examples import TrainingExamples
from batch_layer.examples.update import ExampleUpdate
from batch_layer.search.hyperparams import Values, values_in
from batch_layer.search.training import Split
from batch_layer.search.trials import Candidate, Evaluation
from common.apps.kmeans.pmml import KMeansModel, write_kmeans_pmml
from common.apps.kmeans.settings import schema_of
from common.apps.kmeans.transform import Transformation
from common.config import Settings


class Batch(ExampleUpdate[KMeansModel]):
    """K-means by Oryx's rules of split and evaluation."""

    def __init__(self, settings: Settings) -> None:
        schema = schema_of(settings)
        super().__init__(settings, settings.section("kmeans"), schema, schema.active)

    def hyperparameters(self) -> Mapping[str, Values]:
        """Return k."""
        return values_in("kmeans.hyperparams", self.table.hyperparams, ["k"])

    def build_model(
        self, context: BatchContext, train: TrainingExamples, candidate: Candidate
    ) -> KMeansModel | None:
        """Find clusters, and write ``model.pmml``."""
        kmeans = self.table
        transformation = Transformation.of(
            self.schema, train.encoding(), moments(train) if kmeans.standardize else ()
        )
        how = Fit(
            k=int(candidate.hyperparameters["k"]),
            iterations=kmeans.iterations,
            initialization=kmeans.initialization_strategy,
            runs=kmeans.runs,
            seed=candidate.seed,
        )
        clusters = fit(train, transformation, how)
        model = KMeansModel(self.schema, transformation, clusters, context.timestamp)
        (candidate.directory / self.model_file).write_bytes(write_kmeans_pmml(model))
        return model

    def evaluate(
        self, context: BatchContext, model: KMeansModel, split: Split[TrainingExamples]
    ) -> Evaluation:
        """Evaluate on train and test data together (Oryx's rule).

        Higher is better: the silhouette and Dunn's index as they are, the Davies-Bouldin index
        and the sum of squared errors negated.
        """
        strategy = self.table.evaluation_strategy
        if strategy == "SILHOUETTE":
            sample = split.everything.sample(MAX_SILHOUETTE_POINTS, self.settings.ml.seed)
            value = silhouette(model, sample)
            return Evaluation(value, {"silhouette": value})
        found = spread(model, split.everything)
        if strategy == "DUNN":
            return Evaluation(found.dunn, {"dunn": found.dunn})
        if strategy == "DAVIES_BOULDIN":
            return Evaluation(-found.davies_bouldin, {"davies_bouldin": found.davies_bouldin})
        return Evaluation(-found.sse, {"sse": found.sse})
