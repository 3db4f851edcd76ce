"""The search that learning families share, on a family whose model is a constant."""

from __future__ import annotations

import csv
import io
import logging
import math
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import pytest
from pyspark.sql import SparkSession

from batch_layer.api import BatchContext, Built
from batch_layer.search.candidates import PLOT, TABLE
from batch_layer.search.hyperparams import Values, values_of
from batch_layer.search.training import MLUpdate, Split
from batch_layer.search.trials import Candidate, Evaluation
from common.runtime.configuration import load

Numbers = list[float]


class Nearest(MLUpdate[Numbers, float]):
    """Its model is the hyperparameter `guess`; its error the distance to the mean tested."""

    guess: Any = 1.0

    def __init__(self, **flags: Any) -> None:
        super().__init__(load(flags={f"ml.eval.{key}": value for key, value in flags.items()}))
        self.built: list[tuple[Candidate, Numbers]] = []
        self.threads: set[int] = set()
        self.released = 0
        self.barrier: threading.Barrier | None = None

    def hyperparameters(self) -> Mapping[str, Values]:
        return {"guess": values_of("guess", self.guess)}

    def split(self, context: BatchContext, new_data: Any, past_data: Any) -> Split[Numbers] | None:
        past = past_data or []
        n_test = round(len(new_data) * self.settings.ml.eval.test_fraction)
        train, test = new_data[: len(new_data) - n_test], new_data[len(new_data) - n_test :]
        if not past + new_data:
            return None
        return Split(past + new_data, past + train or None, test or None)

    def build_model(
        self, context: BatchContext, train: Numbers, candidate: Candidate
    ) -> float | None:
        if self.barrier is not None:
            self.barrier.wait(timeout=60)
        self.built.append((candidate, train))
        guess = float(candidate.hyperparameters["guess"])
        (candidate.directory / "model.pmml").write_text(f"{guess} of {len(train)}")
        return None if guess < 0 else guess

    def evaluate(self, context: BatchContext, model: float, split: Split[Numbers]) -> Evaluation:
        assert split.test is not None
        error = abs(model - sum(split.test) / len(split.test))
        return Evaluation(-error, {"error": error})

    def release(self, split: Split[Numbers]) -> None:
        self.released += 1

    def run_on(self, directory: Path, new: Numbers, past: Numbers | None = None) -> Built | None:
        context = BatchContext(cast(SparkSession, None), self.settings, directory, 1, 1)
        return self.run(context, cast(Any, new), cast(Any, past))


TEN = [float(i) for i in range(10)]


def test_highest_score_wins_and_is_trained_again_on_all_data(tmp_path: Path) -> None:
    family = Nearest(candidates=4, test_fraction=0.2, hyperparam_search="grid")
    family.guess = [8.0, 0.0, 8.5, 3.0]
    built = family.run_on(tmp_path, TEN, past=[100.0])
    assert built is not None
    assert built.model_file == "model.pmml"
    assert built.hyperparameters == {"guess": 8.5}
    assert built.metrics == {"score": 0.0, "error": 0.0}
    scores = [row["metrics"]["score"] for row in built.candidates]
    assert sorted(scores) == [-8.5, -5.5, -0.5, 0.0]
    assert [len(train) for _, train in family.built] == [9, 9, 9, 9, 11]
    refit = family.built[-1][0]
    assert refit.hyperparameters == built.hyperparameters
    assert (tmp_path / "model.pmml").read_text() == "8.5 of 11"
    assert sorted(path.name for path in tmp_path.iterdir()) == [TABLE, PLOT, "model.pmml"]
    assert family.released == 1


def test_the_candidates_are_kept_as_a_table_and_a_plot(tmp_path: Path) -> None:
    class Sometimes(Nearest):
        def evaluate(
            self, context: BatchContext, model: float, split: Split[Numbers]
        ) -> Evaluation:
            return Evaluation(math.nan) if model > 5 else super().evaluate(context, model, split)

    tables = []
    for name in ("one", "other"):
        family = Sometimes(candidates=3, test_fraction=0.2, hyperparam_search="grid")
        family.guess = [1.0, 8.0, 5.0]
        (tmp_path / name).mkdir()
        assert family.run_on(tmp_path / name, TEN) is not None
        tables.append((tmp_path / name / TABLE).read_bytes())
    rows = list(csv.DictReader(io.StringIO(tables[0].decode())))
    assert list(rows[0]) == ["candidate", "guess", "seed", "score", "error", "best"]
    assert {row["guess"]: (row["score"], row["best"]) for row in rows} == {
        "1.0": ("-7.5", ""),
        "5.0": ("-3.5", "yes"),
        "8.0": ("", ""),
    }
    assert tables[0] == tables[1]
    plots = [(tmp_path / name / PLOT).read_bytes() for name in ("one", "other")]
    assert plots[0] == plots[1]
    assert plots[0].startswith(b"\x89PNG")
    assert len(plots[0]) > 2_000


def test_words_and_equal_candidates_can_be_drawn(tmp_path: Path) -> None:
    for number, guess in enumerate((["1", "2"], 1.0, [1, "2"], [True, False])):
        family = Nearest(candidates=2, test_fraction=0.2, hyperparam_search="grid")
        family.guess = guess
        (tmp_path / str(number)).mkdir()
        assert family.run_on(tmp_path / str(number), TEN) is not None
        assert (tmp_path / str(number) / PLOT).stat().st_size > 2_000


def test_without_refit_the_candidate_itself_is_published(tmp_path: Path) -> None:
    family = Nearest(candidates=2, test_fraction=0.2, refit=False)
    assert family.run_on(tmp_path, TEN) is not None
    assert len(family.built) == 2
    assert (tmp_path / "model.pmml").read_text() == "1.0 of 8"


def test_candidates_cycle_through_combinations_with_seeds_of_their_own(tmp_path: Path) -> None:
    family = Nearest(candidates=3, test_fraction=0.2)
    built = family.run_on(tmp_path, TEN)
    assert built is not None
    assert [row["seed"] for row in built.candidates] == [1, 2, 3]
    assert {row["hyperparameters"]["guess"] for row in built.candidates} == {1.0}
    assert family.built[-1][0].seed == 1, "of equal scores the first wins"


def test_no_held_out_part_means_one_candidate(tmp_path: Path) -> None:
    family = Nearest(candidates=5, test_fraction=0, threshold=100)
    built = family.run_on(tmp_path, TEN)
    assert built is not None
    assert built.metrics == {"score": None}
    assert len(built.candidates) == len(family.built) == 1
    assert (tmp_path / "model.pmml").read_text() == "1.0 of 10"


@pytest.mark.parametrize(("new", "fraction"), [([5.0], 0.1), ([5.0, 6.0], 1.0)])
def test_a_split_with_an_empty_side_is_not_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, new: Numbers, fraction: float
) -> None:
    family = Nearest(candidates=5, test_fraction=fraction, threshold=100)
    with caplog.at_level(logging.WARNING):
        built = family.run_on(tmp_path, new)
    assert built is not None
    assert built.metrics == {"score": None}
    assert [train for _, train in family.built] == [new]
    assert "nothing is evaluated" in caplog.text


@pytest.mark.parametrize(("threshold", "published"), [(-7.5, True), (-7.4, False)])
def test_threshold(tmp_path: Path, threshold: float, published: bool) -> None:
    family = Nearest(test_fraction=0.2, threshold=threshold)
    built = family.run_on(tmp_path, TEN)
    assert (built is not None) == published
    assert any(tmp_path.iterdir()) == published
    assert family.released == 1


def test_candidates_that_cannot_be_evaluated_rank_last(tmp_path: Path) -> None:
    class Sometimes(Nearest):
        def evaluate(
            self, context: BatchContext, model: float, split: Split[Numbers]
        ) -> Evaluation:
            return Evaluation(math.nan) if model > 2 else super().evaluate(context, model, split)

    family = Sometimes(candidates=2, test_fraction=0.2, hyperparam_search="grid")
    family.guess = [0.0, 10.0]
    built = family.run_on(tmp_path, TEN)
    assert built is not None
    assert built.hyperparameters == {"guess": 0.0}
    assert sorted(row["metrics"]["score"] is None for row in built.candidates) == [False, True]


def test_if_none_can_be_evaluated_the_first_is_kept(tmp_path: Path) -> None:
    class Never(Nearest):
        def evaluate(
            self, context: BatchContext, model: float, split: Split[Numbers]
        ) -> Evaluation:
            return Evaluation(math.nan, {"error": math.nan})

    family = Never(candidates=2, test_fraction=0.2, threshold=5)
    family.guess = [1.0, 2.0]
    built = family.run_on(tmp_path, TEN)
    assert built is not None
    assert built.metrics == {"score": None}
    assert built.hyperparameters == family.built[0][0].hyperparameters


def test_nothing_to_learn_publishes_nothing(tmp_path: Path) -> None:
    assert Nearest().run_on(tmp_path, []) is None
    family = Nearest(test_fraction=0.2)
    family.guess = -1.0
    assert family.run_on(tmp_path, TEN) is None
    assert not list(tmp_path.iterdir())


def test_train_data_that_cancel_out_are_not_the_end(tmp_path: Path) -> None:
    class Demanding(Nearest):
        def build_model(
            self, context: BatchContext, train: Numbers, candidate: Candidate
        ) -> float | None:
            built = super().build_model(context, train, candidate)
            return built if sum(train) else None

    family = Demanding(candidates=3, test_fraction=0.5)
    built = family.run_on(tmp_path, [2.0, -2.0, 1.0, 1.0])
    assert built is not None
    assert built.metrics == {"score": None}
    assert (tmp_path / "model.pmml").read_text() == "1.0 of 4"


def test_candidates_are_built_in_parallel(tmp_path: Path) -> None:
    family = Nearest(candidates=3, parallelism=3, test_fraction=0.2, refit=False)
    family.barrier = threading.Barrier(3)
    assert family.run_on(tmp_path, TEN) is not None
    assert len(family.built) == 3


def test_an_error_of_a_candidate_is_the_run_s(tmp_path: Path) -> None:
    class Broken(Nearest):
        def build_model(self, *arguments: Any) -> float | None:
            message = "no memory left"
            raise MemoryError(message)

    family = Broken(candidates=2)
    with pytest.raises(MemoryError, match="no memory"):
        family.run_on(tmp_path, TEN)
    assert family.released == 1
    assert not list(tmp_path.iterdir())
