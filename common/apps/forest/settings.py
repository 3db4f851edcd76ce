"""Random forest.  Its settings, input lines, and the model that all layers read.

Breiman: Random Forests (2001).
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from common import config
from common.apps.forest.model import ForestModel
from common.apps.forest.pmml_reader import read_forest_pmml
from common.config import Section
from common.pmml.documents import PmmlError
from common.records.encoding import Encoding
from common.records.lines import ExampleLines
from common.records.schema import InputSchema, SchemaError
from common.wire.messages import MessageError

_Candidates = Annotated[int, Field(ge=2, le=65_536)]
_Depth = Annotated[int, Field(ge=1, le=30)]
_Count = Annotated[int, Field(ge=1)]
_Gain = Annotated[float, Field(ge=0)]
_Around = Literal["around", "step"]
_Impurity = Literal["entropy", "gini", "variance"]


class Hyperparams(Section):
    """What the search varies: a value, a range [a, b], several values, or around and step."""

    max_split_candidates: _Candidates | list[_Candidates] | dict[_Around, _Candidates] = Field(
        100, description="Bins of a feature's values, between which it may be split; at least 2."
    )
    max_depth: _Depth | list[_Depth] | dict[_Around, _Depth] = Field(
        8, description="Tests on the longest path of a tree; 1 to 30 (MLlib's limit)."
    )
    impurity: _Impurity | list[_Impurity] | None = Field(
        None, description="What splits reduce; entropy if absent, always variance for numbers."
    )
    min_node_size: _Count | list[_Count] | dict[_Around, _Count] = Field(
        16, description="Training examples that a node must have; at least 1."
    )
    min_info_gain_nats: _Gain | list[_Gain] | dict[_Around, _Gain] = Field(
        0.001,
        description="Least gain of a split: nats of entropy, Gini's own unit, or a share of "
        "the targets' variance.",
    )


class Settings(Section):
    """Classification and regression by a random forest."""

    num_trees: int = Field(20, ge=1, le=10_000, description="Trees.")
    engine: Literal["auto", "mllib", "sklearn"] = Field(
        "auto", description="What trains; auto takes scikit-learn for what fits on the driver."
    )
    engine_max_cells: int = Field(
        50_000_000,
        ge=0,
        description="Events times features up to which auto takes scikit-learn: about 100 bytes "
        "of the driver's memory for each.",
    )
    threads: int | None = Field(
        None, ge=1, description="Cores that scikit-learn trains on; all of them if absent."
    )
    hyperparams: Hyperparams = Field(default_factory=Hyperparams)


def schema_of(settings: config.Settings) -> InputSchema:
    """Return the configured schema.

    Raises
    ------
    SchemaError
        If it contradicts itself, has no target, or nothing to predict it from.
    """
    schema = InputSchema.from_settings(settings.input_schema)
    if schema.target is None:
        message = "a forest predicts a feature: set input_schema.target_feature"
        raise SchemaError(message)
    if not schema.predictors:
        message = f"input_schema leaves no feature to predict {schema.target!r} from"
        raise SchemaError(message)
    return schema


class Lines(ExampleLines):
    """One field for each feature; the target may not be missing, anything else may."""

    def __init__(self, settings: config.Settings) -> None:
        schema = schema_of(settings)
        super().__init__(schema, [schema.target] if schema.target else [])


def read_model(text: str, schema: InputSchema) -> ForestModel:
    """Read a model of the configured schema.

    Raises
    ------
    MessageError
        If it is no forest, or of another schema.
    """
    try:
        return read_forest_pmml(text, schema)
    except PmmlError as error:
        message = f"not a random forest: {error}"
        raise MessageError(message) from error


def encoding_of(model: ForestModel) -> Encoding:
    """Return the categories of a model."""
    return Encoding({name: tuple(found) for name, found in model.fields.categories.items()})
