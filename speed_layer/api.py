"""What the speed layer asks of a model family and gives it; defaults for what one leaves out."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from common.wire.dead_letters import ReadLines, read_values

if TYPE_CHECKING:
    import pyarrow as pa

    from common.config import Settings
    from common.replica.updates import ModelMessage


@dataclass(frozen=True)
class Events:
    """The events of a micro-batch whose lines are good.

    Attributes
    ----------
    records : RecordBatch
        Where each came from: columns ``partition int32, offset int64, timestamp int64 (ms)``.
    columns : RecordBatch
        What the family's ``Lines`` have read of the lines, row for row.
    """

    records: pa.RecordBatch
    columns: pa.RecordBatch

    def __len__(self) -> int:
        """Return the number of events."""
        return int(self.columns.num_rows)

    @classmethod
    def read(cls, rows: pa.RecordBatch, lines: ReadLines, max_bytes: int) -> Events:
        """Read rows of the input topic; those that are refused are left out.

        Parameters
        ----------
        rows : RecordBatch
            Columns as in `records`, and ``value`` (binary).
        lines : callable
            :meth:`common.api.InputLines.read`.
        max_bytes : int
            ``input_topic.max_line_bytes``.
        """
        columns, reasons = read_values(rows["value"], lines, max_bytes)
        records = rows.select(["partition", "offset", "timestamp"])
        if reasons.null_count == len(reasons):
            return cls(records, columns)
        return cls(records.filter(reasons.is_null()), columns.filter(reasons.is_null()))


class SpeedModel(Protocol):
    """One family in the speed layer; its module names the class ``Speed``.

    A family's class derives from this one, and so has the default of `apply_foreign`.

    An instance belongs to one generation.  It is used by one thread.
    """

    def __init__(self, settings: Settings) -> None: ...

    @property
    @abstractmethod
    def fraction_loaded(self) -> float:
        """Share (0 to 1) of the model's expected parts that it holds; 1 if none are expected.

        A family gives it as an attribute of its class or as a property.
        """

    @abstractmethod
    def load(self, model: ModelMessage) -> None:
        """Take over a model; it replaces older state by the family's rule.

        Raises
        ------
        MessageError, StoreError
            If the model cannot be used; the layer keeps the generation before.
        """

    @abstractmethod
    def apply(self, update: str) -> None:
        """Apply the payload of one ``UP``: the batch layer's, or its own after a restart.

        Raises
        ------
        MessageError
            If the payload cannot be read; it is set aside, counted.
        """

    def apply_foreign(self, update: str) -> None:
        """Apply the payload of one ``UP`` that has no headers of ours, as Oryx means it.

        By default it means what it means with our headers.

        Raises
        ------
        MessageError
            If the payload cannot be read; it is set aside, counted.
        """
        self.apply(update)

    @abstractmethod
    def build_updates(self, events: Events) -> Sequence[str]:
        """Fold events into the model and return the ``UP`` payloads that say so.

        The layer either sends all of them or stops, so the model itself moves on at once.
        """
