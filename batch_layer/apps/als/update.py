"""ALS in the batch layer: train, evaluate, and write a generation's files."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from batch_layer.api import BatchContext
from batch_layer.apps.als.data import Events, Factorization, Pairs, Preparation, rows_of
from batch_layer.apps.als.local import LocalEvents
from batch_layer.apps.als.mllib import SparkEvents
from batch_layer.apps.als.solver import Fit
from batch_layer.search.hyperparams import Values, values_in
from batch_layer.search.measures import (
    Rows,
    dot_rows,
    draw_negatives,
    mean_user_auc,
    root_mean_squared_error,
)
from batch_layer.search.training import MLUpdate, Split
from batch_layer.search.trials import Candidate, Evaluation
from common.apps.als.payload import FactorUpdates, Kind, encode_updates
from common.apps.als.pmml import AlsModel, write_als_pmml
from common.factors.files import (
    ITEM_FACTORS,
    USER_FACTORS,
    StoredFactors,
    read_factors,
    write_factors,
)
from common.store.generations import Generation

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

log = logging.getLogger(__name__)


_COLUMNS = ("partition", "offset", "timestamp", "value")
_CHUNK = 10_000


@dataclass(frozen=True)
class Trained:
    """A model, and how the events were prepared for it."""

    factors: Factorization
    preparation: Preparation


class Batch(MLUpdate[Events, Trained]):
    """ALS by Oryx's rules of preparation, split and evaluation."""

    def hyperparameters(self) -> Mapping[str, Values]:
        """Return features, lambda, alpha (implicit only) and epsilon (log strengths only)."""
        als = self.settings.section("als")
        used = ["features", "regularization"]
        used += ["alpha"] if als.implicit else []
        used += ["epsilon"] if als.log_strength else []
        return values_in("als.hyperparams", als.hyperparams, used)

    def split(
        self, context: BatchContext, new_data: DataFrame, past_data: DataFrame | None
    ) -> Split[Events] | None:
        """Hold the newest part of the new events' time range out (Oryx's rule for ALS)."""
        read = self._reader(context)
        new = read(new_data)
        past = None if past_data is None else read(past_data)
        everything = _together(new, past)
        newest = new.time_range()
        fraction = self.settings.ml.eval.test_fraction
        if newest is None or fraction == 0:
            found = Split(everything, everything, None)
        else:
            boundary = newest[1] - round(fraction * (newest[1] - newest[0]))
            before, test = new.split_at(boundary)
            found = Split(everything, _or_none(_together(before, past)), _or_none(test))
        if everything.time_range() is not None:
            return found
        self.release(found)
        return None

    def build_model(
        self, context: BatchContext, train: Events, candidate: Candidate
    ) -> Trained | None:
        """Factorise, and write ``model.pmml`` and a file of factors for each side."""
        als = self.settings.section("als")
        preparation = self._preparation(context, candidate)
        fit = self._fit(candidate)
        factors = train.factorize(preparation, fit, known_items=not als.no_known_items)
        if factors is None:
            return None
        _write_factors(factors, candidate.directory)
        model = AlsModel(
            features=fit.features,
            implicit=fit.implicit,
            regularization=fit.regularization,
            alpha=fit.alpha,
            log_strength=preparation.log_strength,
            epsilon=preparation.epsilon,
            user_ids=factors.user_ids.to_pylist(),
            item_ids=factors.item_ids.to_pylist(),
            user_factors=USER_FACTORS,
            item_factors=ITEM_FACTORS,
            timestamp=context.timestamp,
        )
        (candidate.directory / self.model_file).write_bytes(write_als_pmml(model))
        return Trained(factors, preparation)

    def evaluate(self, context: BatchContext, model: Trained, split: Split[Events]) -> Evaluation:
        """Evaluate on the test pairs whose user and item the model has.

        Implicit: mean AUC per user, against negatives drawn from the test items.  Explicit:
        the negative root mean squared error.
        """
        if split.test is None:
            return Evaluation(math.nan)
        pairs = split.test.pairs(model.preparation)
        users, items, values = _known_to(model.factors, pairs)
        if model.preparation.implicit:
            auc = self._auc(model.factors, users[values > 0], items[values > 0])
            return Evaluation(auc, {"auc": auc})
        rmse = root_mean_squared_error(_scores(model.factors, users, items), values)
        return Evaluation(-rmse, {"rmse": rmse})

    def engine(self, split: Split[Events]) -> str:
        """Return ``driver`` or ``mllib``."""
        return split.everything.engine

    def release(self, split: Split[Events]) -> None:
        """Free the executors' memory."""
        split.everything.release()

    def updates(self, generation: Generation) -> Collection[str]:
        """Return all items, then all users with their known items, where the topic has factors."""
        if self.settings.update_topic.factors == "files":
            return ()
        return _FactorPayloads(
            read_factors(generation.path(ITEM_FACTORS)), read_factors(generation.path(USER_FACTORS))
        )

    def _reader(self, context: BatchContext) -> Callable[[DataFrame], Events]:
        """Choose the engine: what it trains on is read where it trains."""
        als = self.settings.section("als")
        on_executors = als.engine == "mllib"
        if als.engine == "auto":
            on_executors = context.n_events > als.engine_max_ratings
        if on_executors:
            return SparkEvents.of
        return lambda rows: LocalEvents.of(context.read(rows, _COLUMNS))

    def _preparation(self, context: BatchContext, candidate: Candidate) -> Preparation:
        als = self.settings.section("als")
        return Preparation(
            implicit=als.implicit,
            log_strength=als.log_strength,
            epsilon=float(candidate.hyperparameters.get("epsilon", AlsModel.epsilon)),
            decay_factor=als.decay.factor,
            zero_threshold=als.decay.zero_threshold,
            now=context.timestamp,
        )

    def _fit(self, candidate: Candidate) -> Fit:
        als = self.settings.section("als")
        chosen = candidate.hyperparameters
        return Fit(
            features=int(chosen["features"]),
            regularization=float(chosen["lambda"]),
            alpha=float(chosen.get("alpha", AlsModel.alpha)),
            iterations=als.iterations,
            implicit=als.implicit,
            seed=candidate.seed,
        )

    def _auc(self, factors: Factorization, users: Rows, items: Rows) -> float:
        other_users, other_items = draw_negatives(users, items, self.settings.ml.seed)
        return mean_user_auc(
            users,
            _scores(factors, users, items),
            other_users,
            _scores(factors, other_users, other_items),
        )


class _FactorPayloads(Collection[str]):
    """Payloads of ``UP`` messages, encoded while they are read; their number is known before."""

    def __init__(self, items: StoredFactors, users: StoredFactors) -> None:
        self._items = items
        self._users = users

    def __len__(self) -> int:
        return len(self._items.ids) + len(self._users.ids)

    def __iter__(self) -> Iterator[str]:
        sides: tuple[tuple[Kind, StoredFactors], ...] = (("Y", self._items), ("X", self._users))
        for kind, side in sides:
            for start in range(0, len(side.ids), _CHUNK):
                yield from encode_updates(self._chunk(kind, side, slice(start, start + _CHUNK)))

    def __contains__(self, payload: object) -> bool:
        return any(payload == other for other in self)

    def _chunk(self, kind: Kind, side: StoredFactors, rows: slice) -> FactorUpdates:
        known: list[list[str]] = []
        if side.known_items is not None:
            numbers = side.known_items[rows]
            known = [[self._items.ids[number] for number in row] for row in numbers]
        return FactorUpdates(kind, side.ids[rows], side.vectors[rows], known)


def _together(new: Events, past: Events | None) -> Events:
    return new if past is None else new.with_past(past)


def _or_none(events: Events) -> Events | None:
    return None if events.time_range() is None else events


def _write_factors(factors: Factorization, directory: Path) -> None:
    write_factors(directory / ITEM_FACTORS, factors.item_ids, factors.item_factors)
    write_factors(
        directory / USER_FACTORS, factors.user_ids, factors.user_factors, factors.known_items
    )


def _known_to(factors: Factorization, pairs: Pairs) -> tuple[Rows, Rows, NDArray[np.float32]]:
    """Return rows of users and items, and values, of the pairs whose ids both have factors."""
    users = rows_of(pairs.user_ids, factors.user_ids)[pairs.users]
    items = rows_of(pairs.item_ids, factors.item_ids)[pairs.items]
    both = (users >= 0) & (items >= 0)
    log.info("%d of %d test pairs have a known user and item", both.sum(), len(pairs))
    return users[both].astype(np.int64), items[both].astype(np.int64), pairs.values[both]


def _scores(factors: Factorization, users: Rows, items: Rows) -> NDArray[np.float64]:
    return dot_rows(factors.user_factors, factors.item_factors, users, items)
