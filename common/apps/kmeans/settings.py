"""K-means clustering.  Its settings, input lines, and the model that all layers read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from common.apps.kmeans.pmml import KMeansModel, read_kmeans_pmml
from common.config import Section
from common.pmml.documents import PmmlError
from common.records.lines import ExampleLines
from common.records.pmml_fields import require_schema
from common.records.schema import InputSchema, SchemaError
from common.wire.messages import MessageError

if TYPE_CHECKING:
    from common import config

_Count = Annotated[int, Field(ge=2, le=65_536)]
_Step = Annotated[int, Field(ge=1)]
_Around = Literal["around", "step"]


class Hyperparams(Section):
    """What the search varies: a value, a range [a, b], several values, or around and step."""

    k: _Count | list[_Count] | dict[_Around, _Step] = Field(10, description="Clusters; at least 2.")


class Settings(Section):
    """Clustering by k-means."""

    iterations: int = Field(30, ge=1, description="Rounds of Lloyd's algorithm at most.")
    initialization_strategy: Literal["k-means||", "random"] = Field(
        "k-means||",
        description="First centers; scikit-learn takes k-means++, of which k-means|| is the "
        "parallel form.",
    )
    runs: int = Field(
        1, ge=1, description="Times that each model is trained, from other first centers."
    )
    evaluation_strategy: Literal["SILHOUETTE", "DAVIES_BOULDIN", "DUNN", "SSE"] = Field(
        "SILHOUETTE", description="By what candidates are compared."
    )
    standardize: bool = Field(
        False, description="Give every numeric feature mean 0 and deviation 1, in the model."
    )
    engine: Literal["auto", "mllib", "sklearn"] = Field(
        "auto", description="What trains; auto takes scikit-learn for what fits on the driver."
    )
    engine_max_cells: int = Field(
        100_000_000, ge=0, description="Events times features up to which auto takes scikit-learn."
    )
    hyperparams: Hyperparams = Field(default_factory=Hyperparams)


def schema_of(settings: config.Settings) -> InputSchema:
    """Return the configured schema.

    Raises
    ------
    SchemaError
        If it contradicts itself, has a target, or leaves nothing to measure distance by.
    """
    schema = InputSchema.from_settings(settings.input_schema)
    if schema.target is not None:
        message = (
            f"input_schema.target_feature is {schema.target!r}: k-means predicts none, unset it"
        )
        raise SchemaError(message)
    if not schema.predictors:
        message = "input_schema has ids and ignored features alone: k-means needs an active one"
        raise SchemaError(message)
    return schema


class Lines(ExampleLines):
    """One field for each feature; none may be missing, since distance would mean nothing."""

    def __init__(self, settings: config.Settings) -> None:
        schema = schema_of(settings)
        super().__init__(schema, schema.active)


def read_model(text: str, schema: InputSchema) -> KMeansModel:
    """Read a model of the configured schema.

    Raises
    ------
    MessageError
        If it is no k-means model, or of another schema.
    """
    try:
        model = read_kmeans_pmml(text)
        require_schema(model.schema, schema)
    except PmmlError as error:
        message = f"not a k-means model: {error}"
        raise MessageError(message) from error
    return model
