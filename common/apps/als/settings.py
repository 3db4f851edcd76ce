"""ALS: recommendation by alternating least squares.  Its settings, lines, and pure maths.

Hu, Koren, Volinsky: Collaborative Filtering for Implicit Feedback Datasets (2008).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import ConfigDict, Field

from common.api import InputLines, Read
from common.config import Section

if TYPE_CHECKING:
    import pyarrow as pa

_Count = Annotated[int, Field(ge=1, le=10_000)]
_Positive = Annotated[float, Field(gt=0)]
_NotNegative = Annotated[float, Field(ge=0)]
_Around = Literal["around", "step"]


class Hyperparams(Section):
    """What the search varies: a value, a range [a, b], several values, or around and step."""

    model_config = ConfigDict(populate_by_name=True)

    features: _Count | list[_Count] | dict[_Around, _Count] = Field(
        10, description="Factors of a user or an item; at least 1."
    )
    regularization: _NotNegative | list[_NotNegative] | dict[_Around, _NotNegative] = Field(
        0.001, alias="lambda", description="Regularization; at least 0."
    )
    alpha: _Positive | list[_Positive] | dict[_Around, _Positive] = Field(
        1.0, description="Confidence of one unit of strength (implicit only); above 0."
    )
    epsilon: _Positive | list[_Positive] | dict[_Around, _Positive] = Field(
        0.00001, description="Strength r becomes ln(1 + r/epsilon) (log_strength only); above 0."
    )


class Decay(Section):
    """How strengths weaken with age, in the batch layer."""

    factor: float = Field(
        1.0, gt=0, le=1, description="A strength is multiplied by this for each day of its age."
    )
    zero_threshold: float = Field(
        0.0, ge=0, description="Strengths of at most this magnitude are dropped; 0 drops none."
    )


class TopN(Section):
    """How the serving layer searches a model's items."""

    approximate_above_items: int | None = Field(
        None,
        ge=0,
        description="Items above which answers are approximate, once an index has been built in "
        "the background; if absent, they are always exact.",
    )
    recall: float = Field(
        0.95,
        gt=0,
        lt=1,
        description="Share of an exact answer that an approximate one has to have; each build "
        "measures it on a sample of queries, and answers stay exact where it would not pay.",
    )


class Settings(Section):
    """Recommendation by alternating least squares."""

    iterations: int = Field(10, ge=1, description="Rounds of alternating least squares.")
    implicit: bool = Field(
        True, description="Strengths are counts of interactions; false: they are ratings."
    )
    log_strength: bool = Field(False, description="Train on logarithms of the strengths.")
    engine: Literal["auto", "mllib", "driver"] = Field(
        "auto", description="What trains; auto takes the driver for what fits there."
    )
    engine_max_ratings: int = Field(
        50_000_000, ge=0, description="Events up to which auto takes the driver."
    )
    hyperparams: Hyperparams = Field(default_factory=Hyperparams)
    no_known_items: bool = Field(
        False, description="Keep no record of which items a user has interacted with."
    )
    rescorer_provider_class: str | list[str] | None = Field(
        None, description="Classes that filter and rescore results, separated by commas."
    )
    decay: Decay = Field(default_factory=Decay)
    top_n: TopN = Field(default_factory=TopN)


class Lines(InputLines):
    """``user,item[,strength[,timestamp]]``, whatever the settings say."""

    def read(self, lines: pa.StringArray) -> Read:
        """Return the columns of :func:`common.apps.als.events.read`."""
        # A process that reads no lines does not load what reads them: 10 MB in the serving layer.
        from common.apps.als.events import read

        return read(lines)

    def keys(self, lines: Sequence[str], columns: pa.RecordBatch) -> Sequence[str]:
        """Return the CRC-32 of each line's user, so that a user's events keep their order."""
        users = columns["user"].dictionary_decode().to_pylist()
        found = [line if user is None else user for line, user in zip(lines, users, strict=True)]
        return super().keys(found, columns)
