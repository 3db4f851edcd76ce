"""Candidates of a search, their evaluations, and both together as trials."""

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
        Number within the search, from 0.
    hyperparameters : mapping of str to value
        A value for each hyperparameter of the family.
    seed : int
        Seed of every random choice in training.
    directory : Path
        Folder for its files.
    """

    number: int
    hyperparameters: Mapping[str, Any]
    seed: int
    directory: Path


@dataclass(frozen=True)
class Evaluation:
    """Result of evaluating a model on held-out data.

    Attributes
    ----------
    score : float
        Compared between candidates and with the threshold; higher is better.  NaN if the test
        data cannot evaluate the model.
    metrics : mapping of str to float
        Further metrics, for the manifest.
    """

    score: float
    metrics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Trial:
    """A built candidate with its evaluation, which is None if there are no test data."""

    candidate: Candidate
    evaluation: Evaluation | None
    seconds: float

    @property
    def score(self) -> float:
        """The evaluation's score; NaN if it is unknown."""
        return math.nan if self.evaluation is None else self.evaluation.score

    @property
    def unknown(self) -> bool:
        """Whether the model could not be evaluated."""
        return math.isnan(self.score)

    def metrics(self) -> dict[str, float | None]:
        """Return score and metrics; the score is None if it is unknown."""
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
