"""The protocol between the batch layer and a model family."""

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
    """Collect columns of a DataFrame on the driver by Spark."""
    return iter(rows.select(*columns).toArrow().to_batches())


@dataclass(frozen=True)
class BatchContext:
    """Resources of a family while it builds one generation.

    Attributes
    ----------
    spark : SparkSession
        The layer's session.
    settings : Settings
        The complete configuration.
    directory : Path
        Local folder for the generation's files; the layer publishes its content afterwards.
    timestamp : int
        Start of the run in milliseconds since 1970; training reads no other clock.
    n_events : int
        Number of rows of new and past data together.
    read : callable
        Reads columns of new or past data on the driver: ``read(rows, columns)`` returns record
        batches, in no order.  The layer passes a function that reads the history's files, several
        times faster than Spark, if they hold exactly these rows.
    """

    spark: SparkSession
    settings: Settings
    directory: Path
    timestamp: int
    n_events: int
    read: Callable[[DataFrame, Sequence[str]], Iterator[pa.RecordBatch]] = through_spark


@dataclass(frozen=True)
class Built:
    """A model that a family has built; the layer stores it as a generation and publishes it.

    Attributes
    ----------
    model_file : str
        Name of the file in the context's directory that MODEL carries or MODEL-REF names.
    engine, hyperparameters, metrics, candidates
        Fields of the manifest.
    """

    model_file: str
    engine: str = ""
    hyperparameters: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, float | None] = field(default_factory=dict)
    candidates: tuple[Mapping[str, Any], ...] = ()


class BatchUpdate(Protocol):
    """A family's part in the batch layer; the class is named ``Batch`` in its module."""

    def __init__(self, settings: Settings) -> None: ...

    def run(
        self, context: BatchContext, new_data: DataFrame, past_data: DataFrame | None
    ) -> Built | None:
        """Build a model on the history.

        Parameters
        ----------
        context : BatchContext
            Session, configuration, folder, timestamp.
        new_data : DataFrame
            History rows since the parent generation's cut, never empty; columns
            ``partition int, offset bigint, timestamp bigint (ms), key string, value string``.
        past_data : DataFrame or None
            The rows up to that cut, with the same columns; None if there are none.

        Returns
        -------
        Built or None
            None if nothing is to be published: there were no usable data, or no candidate reached
            the threshold.
        """

    def updates(self, generation: Generation) -> Collection[str]:
        """Return the payloads of the ``UP`` messages that follow the model, in order.

        They are read from the generation's files, so that the next start can send those of a
        generation that was stored but not published.  A large collection should be read
        lazily.  Most families return ``()``.
        """
