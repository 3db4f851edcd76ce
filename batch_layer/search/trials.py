"""What a search tries: candidates, how each evaluates, and what became of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Candidate:
    """One model to build.

    Attributes
    ----------
    number : int
        From 0, within this generation.
    hyperparameters : mapping of str to value
        One value for each of the family's.
    seed : int
        Of every random choice in its training.
    directory : Path
        For its files.
    """

    number: int
    hyperparameters: Mapping[str, Any]
    seed: int
    directory: Path


@dataclass(frozen=True)
class Evaluation:
    """How a model does on data that it has not seen.

    Attributes
    ----------
    score : float
        Candidates compare, and the threshold applies, by this; higher is better.  NaN where
        the test data say nothing of the model.
    metrics : mapping of str to float
        What is worth keeping beside it.
    """

    score: float
    metrics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Trial:
    """A candidate that was built, and how it did; `evaluation` is None if nothing could tell."""

    candidate: Candidate
    evaluation: Evaluation | None
    seconds: float

    @property
    def score(self) -> float:
        """The evaluation's score; NaN where it is unknown."""
        return math.nan if self.evaluation is None else self.evaluation.score

    @property
    def unknown(self) -> bool:
        """Whether the model could not be evaluated."""
        return math.isnan(self.score)

    def metrics(self) -> dict[str, float | None]:
        """Return score and metrics; the score is None where it is unknown."""
        if self.evaluation is None or self.unknown:
            return {"score": None}
        return {"score": self.score, **self.evaluation.metrics}

    def row(self) -> dict[str, Any]:
        """Return the trial as a row of the manifest's table of candidates."""
        return {
            "hyperparameters": dict(self.candidate.hyperparameters),
            "seed": self.candidate.seed,
            "metrics": self.metrics(),
            "seconds": round(self.seconds, 3),
        }
