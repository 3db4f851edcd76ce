"""One generation in memory with the log of its updates."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Generic, TypeVar

from common.replica.updates import SequenceLog

Model = TypeVar("Model")


@dataclass
class Slot(Generic[Model]):
    """One generation in a layer's memory.

    Attributes
    ----------
    generation : int or None
        Its id; None for a model that is not from Gemsbok.
    model : Model
        The family's model, to which every update is applied.
    cut : dict of int to int
        Input offsets up to which the generation was trained.
    log : SequenceLog
        The messages read for this generation so far.
    """

    generation: int | None
    model: Model
    cut: dict[int, int] = field(default_factory=dict)
    log: SequenceLog = field(default_factory=SequenceLog)

    @property
    def offsets(self) -> dict[int, int]:
        """For each input partition the next offset that the model does not hold yet."""
        done = self.log.progress.offsets
        partitions = self.cut.keys() | done.keys()
        return {p: max(self.cut.get(p, 0), done.get(p, 0)) for p in partitions}
