"""What the speed layer asks of a model family."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import pyarrow as pa

    from common.config import Settings
    from common.replica.updates import ModelMessage


class SpeedModel(Protocol):
    """One family in the speed layer; its module names the class ``Speed``.

    An instance belongs to one generation.  It is used by one thread.
    """

    def __init__(self, settings: Settings) -> None: ...

    @property
    def fraction_loaded(self) -> float:
        """Share (0 to 1) of the model's expected parts that it holds; 1 if none are expected."""

    def load(self, model: ModelMessage) -> None:
        """Take over a model; it replaces older state by the family's rule.

        Raises
        ------
        MessageError, StoreError
            If the model cannot be used; the layer keeps the generation before.
        """

    def apply(self, update: str, foreign: bool = False) -> None:
        """Apply the payload of one ``UP``: the batch layer's, or its own after a restart.

        Parameters
        ----------
        update : str
            The payload.
        foreign : bool
            The record had no headers of ours and means what it means to Oryx, which for the
            forest's leaves is a change; with our headers a payload is absolute.

        Raises
        ------
        MessageError
            If the payload cannot be read; it is set aside, counted.
        """

    def build_updates(self, events: pa.RecordBatch) -> Sequence[str]:
        """Fold events into the model and return the ``UP`` payloads that say so.

        The layer either sends all of them or stops, so the model itself moves on at once.

        Parameters
        ----------
        events : RecordBatch
            Columns ``partition int32, offset int64, timestamp int64 (ms), value string``;
            lines that :func:`check` refused are not among them.
        """
