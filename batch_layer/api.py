"""What the batch layer asks of a model family."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import DataFrame, SparkSession

    from common.config import Settings
    from common.store.generations import Generation


def through_spark(rows: DataFrame, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """Bring columns of a frame to the driver by Spark itself."""
    return iter(rows.select(*columns).toArrow().to_batches())


@dataclass(frozen=True)
class BatchContext:
    """What a family may use while it builds one generation.

    Attributes
    ----------
    spark : SparkSession
        The layer's session.
    settings : Settings
        The whole configuration.
    directory : Path
        Local folder for the generation's files; it becomes visible as a whole afterwards.
    timestamp : int
        Milliseconds since 1970 at the generation's start; the only clock that training reads.
    n_events : int
        Number of rows in new and past data together.
    read : callable
        Brings columns of new or past data to the driver: ``read(rows, columns)`` returns record
        batches, in no order.  That of the layer reads from the history's files, several times
        faster than Spark, where these hold just the same rows.
    """

    spark: SparkSession
    settings: Settings
    directory: Path
    timestamp: int
    n_events: int
    read: Callable[[DataFrame, Sequence[str]], Iterator[pa.RecordBatch]] = through_spark


@dataclass(frozen=True)
class Built:
    """What a family has built; the layer makes it a generation and publishes it.

    Attributes
    ----------
    model_file : str
        The file in the context's directory that MODEL carries or MODEL-REF names.
    engine, hyperparameters, metrics, candidates
        For the manifest.
    """

    model_file: str
    engine: str = ""
    hyperparameters: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, float | None] = field(default_factory=dict)
    candidates: tuple[Mapping[str, Any], ...] = ()


class BatchUpdate(Protocol):
    """One family in the batch layer; its module names the class ``Batch``."""

    def __init__(self, settings: Settings) -> None: ...

    def run(
        self, context: BatchContext, new_data: DataFrame, past_data: DataFrame | None
    ) -> Built | None:
        """Build a model on the history.

        Parameters
        ----------
        context : BatchContext
            Session, configuration, folder, clock.
        new_data : DataFrame
            History rows since the parent generation's cut, never empty; columns
            ``partition int, offset bigint, timestamp bigint (ms), key string, value string``.
        past_data : DataFrame or None
            The rows up to that cut, in the same columns; None where there are none.

        Returns
        -------
        Built or None
            None publishes nothing: no usable data, or no candidate reached the threshold.
        """

    def updates(self, generation: Generation) -> Collection[str]:
        """Return the payloads of the ``UP`` messages that follow the model, in order.

        They are read from the generation's files, so that one that was stored and not
        published can be sent by the next start just as well.  Many are best read lazily, by
        an object that knows its length.  Most families send none: ``()``.
        """
