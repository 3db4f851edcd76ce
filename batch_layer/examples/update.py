"""Base class of batch families that learn from examples with scikit-learn or MLlib."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any, Generic

from batch_layer.api import BatchContext
from batch_layer.examples.examples import TrainingExamples
from batch_layer.examples.reader import Reading, read_examples
from batch_layer.search.training import MLUpdate, Model, Split

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from common.config import Settings
    from common.records.schema import InputSchema


class ExampleUpdate(MLUpdate[TrainingExamples, Model], Generic[Model]):
    """The batch part of a family that learns from examples; subclasses build the model.

    Parameters
    ----------
    settings : Settings
        The complete configuration.
    table : settings
        The family's section, with ``engine`` and ``engine_max_cells``.
    schema : InputSchema
        The features of a line's fields.
    required : collection of str
        Features that every example must have.
    """

    def __init__(
        self, settings: Settings, table: Any, schema: InputSchema, required: Collection[str]
    ) -> None:
        super().__init__(settings)
        self.table = table
        self.schema = schema
        self._required = frozenset(required)

    def split(
        self, context: BatchContext, new_data: DataFrame, past_data: DataFrame | None
    ) -> Split[TrainingExamples] | None:
        """Read the examples; hold out new rows at random (Oryx's rule)."""
        reading = Reading(
            schema=self.schema,
            required=self._required,
            engine=self.table.engine,
            max_cells=self.table.engine_max_cells,
            test_fraction=self.settings.ml.eval.test_fraction,
            seed=self.settings.ml.seed,
        )
        return read_examples(reading, context, new_data, past_data)

    def engine(self, split: Split[TrainingExamples]) -> str:
        """Return ``sklearn`` or ``mllib``."""
        return split.everything.engine

    def release(self, split: Split[TrainingExamples]) -> None:
        """Free the executors' memory."""
        split.everything.release()
