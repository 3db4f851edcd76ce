"""Base class of the learning families: search, held-out evaluation, threshold, refit.

The rules are those of Oryx, except where these would lose a good model:

* If the split leaves no training data or no test data, one candidate is trained on all data
  and not evaluated.  (Oryx publishes nothing.)
* A candidate that cannot be evaluated ranks below all others.  If none can be evaluated, the
  first is taken.  The threshold applies to evaluated candidates only; the manifest says which
  were not evaluated.
* The best candidate's hyperparameters are trained again on all data (``ml.eval.refit``).
"""

from __future__ import annotations

import logging
import math
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Generic, TypeVar

from batch_layer.api import BatchContext, Built
from batch_layer.search.candidates import write_candidates
from batch_layer.search.hyperparams import Values, combinations
from batch_layer.search.trials import Candidate, Evaluation, Trial

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from common.config import Settings
    from common.store.generations import Generation

log = logging.getLogger(__name__)

#: A family's own types of training data and of trained models.
Data = TypeVar("Data")
Model = TypeVar("Model")


@dataclass(frozen=True)
class Split(Generic[Data]):
    """The training data of a run, split for evaluation.

    Attributes
    ----------
    everything : Data
        Past and new data.
    train, test : Data or None
        The two parts; None if a part is empty.  The test part has new data only.
    """

    everything: Data
    train: Data | None
    test: Data | None

    @property
    def usable(self) -> bool:
        """Whether neither part is empty."""
        return self.train is not None and self.test is not None


class MLUpdate(ABC, Generic[Data, Model]):
    """Base class of the ``Batch`` of a family that learns.

    Parameters
    ----------
    settings : Settings
        The complete configuration.
    """

    #: Name of the file in a candidate's directory that MODEL carries.
    model_file: ClassVar[str] = "model.pmml"

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    @abstractmethod
    def hyperparameters(self) -> Mapping[str, Values]:
        """Return the possible values of each hyperparameter."""

    @abstractmethod
    def split(
        self, context: BatchContext, new_data: DataFrame, past_data: DataFrame | None
    ) -> Split[Data] | None:
        """Read the history once for all candidates, and hold out ``ml.eval.test_fraction``.

        Only new data are held out; past data are always training data.  None if there is
        nothing to train on.
        """

    @abstractmethod
    def build_model(self, context: BatchContext, train: Data, candidate: Candidate) -> Model | None:
        """Train one model and write its files into the candidate's directory.

        Several threads may call it concurrently.  None if the data leave nothing to learn.
        """

    @abstractmethod
    def evaluate(self, context: BatchContext, model: Model, split: Split[Data]) -> Evaluation:
        """Evaluate on ``split.test`` a model that was trained on ``split.train``."""

    def engine(self, split: Split[Data]) -> str:
        """Return the name of the engine that trains, for the manifest."""
        return ""

    def release(self, split: Split[Data]) -> None:
        """Free the memory of a split at the end of a run; does nothing by default."""

    def updates(self, generation: Generation) -> Collection[str]:
        """Return ``()``: no updates by default; see :class:`batch_layer.api.BatchUpdate`."""
        return ()

    def run(
        self, context: BatchContext, new_data: DataFrame, past_data: DataFrame | None
    ) -> Built | None:
        """Build one generation; see :class:`batch_layer.api.BatchUpdate`."""
        split = self.split(context, new_data, past_data)
        if split is None:
            log.warning("no model: the history holds nothing to train on")
            return None
        try:
            return self._search(context, split)
        finally:
            self.release(split)

    def _search(self, context: BatchContext, split: Split[Data]) -> Built | None:
        """Find the best model and move its files into the generation's folder."""
        with tempfile.TemporaryDirectory(prefix=".candidates-", dir=context.directory) as scratch:
            trials = self._try_candidates(context, split, Path(scratch))
            if not trials and split.usable:
                split = replace(split, train=None)
                trials = self._try_candidates(context, split, Path(scratch))
            best = self._best(trials)
            final = None if best is None else self._final(context, split, best)
            if best is None or final is None:
                return None
            for path in final.iterdir():
                path.rename(context.directory / path.name)
        if len(trials) > 1:
            write_candidates(trials, best, context.directory)
        return Built(
            model_file=self.model_file,
            engine=self.engine(split),
            hyperparameters=best.candidate.hyperparameters,
            metrics=best.metrics(),
            candidates=tuple(trial.row() for trial in trials),
        )

    def _try_candidates(
        self, context: BatchContext, split: Split[Data], scratch: Path
    ) -> list[Trial]:
        """Build and evaluate all candidates, ``ml.eval.parallelism`` at a time."""
        candidates = self._candidates(scratch, evaluated=split.usable)
        threads = min(self.settings.ml.eval.parallelism, len(candidates))
        with ThreadPoolExecutor(threads, thread_name_prefix="candidate") as pool:
            trials = pool.map(lambda candidate: self._try(context, split, candidate), candidates)
            return [trial for trial in trials if trial is not None]

    def _candidates(self, scratch: Path, evaluated: bool) -> list[Candidate]:
        """Return the candidates; candidate i takes combination i mod n and its own seed."""
        rules, seed = self.settings.ml.eval, self.settings.ml.seed
        if rules.test_fraction > 0 and not evaluated:
            log.warning(
                "nothing is evaluated: ml.eval.test_fraction = %g leaves no data on one side; "
                "one candidate is trained on everything",
                rules.test_fraction,
            )
        count = rules.candidates if evaluated else 1
        chosen = combinations(self.hyperparameters(), count, rules.hyperparam_search, seed)
        return [
            Candidate(i, chosen[i % len(chosen)], seed + i, scratch / str(i)) for i in range(count)
        ]

    def _try(self, context: BatchContext, split: Split[Data], candidate: Candidate) -> Trial | None:
        """Build and evaluate one candidate; None if the data leave nothing to learn."""
        start = time.monotonic()
        candidate.directory.mkdir(exist_ok=True)
        train = split.train if split.usable else split.everything
        model = None if train is None else self.build_model(context, train, candidate)
        if model is None:
            log.warning("candidate %d: the training data leave nothing to learn", candidate.number)
            return None
        evaluation = self.evaluate(context, model, split) if split.usable else None
        trial = Trial(candidate, evaluation, time.monotonic() - start)
        log.info("candidate %d: %s", candidate.number, trial.row())
        return trial

    def _best(self, trials: Sequence[Trial]) -> Trial | None:
        """Return the trial of the highest score, or the first if none has one.

        None if there are no trials, or the score is below the threshold.
        """
        if not trials:
            return None
        best = max(trials, key=lambda trial: -math.inf if trial.unknown else trial.score)
        threshold = self.settings.ml.eval.threshold
        if threshold is None:
            return best
        if best.unknown:
            log.warning("ml.eval.threshold = %g is not applied: nothing was evaluated", threshold)
        elif best.score < threshold:
            log.warning(
                "no model: the best candidate's score %g is below ml.eval.threshold = %g",
                best.score,
                threshold,
            )
            return None
        return best

    def _final(self, context: BatchContext, split: Split[Data], best: Trial) -> Path | None:
        """Return the folder of the best model, trained again on all data if configured so."""
        if not (split.usable and self.settings.ml.eval.refit):
            return best.candidate.directory
        directory = best.candidate.directory.with_name("refit")
        directory.mkdir()
        candidate = replace(best.candidate, directory=directory)
        if self.build_model(context, split.everything, candidate) is None:
            log.warning("no model: all data together leave nothing to learn")
            return None
        return directory
