"""ALS in the speed layer: folds each micro-batch into the vectors of its users and items.

Events of a micro-batch are aggregated for each pair of user and item as in the batch layer.
Then the pairs of one user are folded in one after the other, in time order; the items'
vectors are those at the micro-batch's start.  Items likewise, with the users' vectors.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from common.apps.als.events import Interactions, interactions
from common.apps.als.fold_in import FoldIn, Strengths
from common.apps.als.pairs import aggregate
from common.apps.als.payload import FactorUpdates, decode_update, encode_updates
from common.apps.als.pmml import AlsModel, read_als_pmml
from common.factors.files import ITEM_FACTORS, USER_FACTORS, read_factors
from common.factors.matrix import FactorMatrix
from common.factors.retention import fraction_loaded
from common.factors.solver import Solver
from common.pmml.documents import PmmlError
from common.store.generations import Generation, StoreError
from common.wire.messages import MessageError
from speed_layer.api import Events, SpeedModel
from speed_layer.apps.als.sides import FactorSide

if TYPE_CHECKING:
    from common.config import Settings
    from common.replica.updates import ModelMessage

log = logging.getLogger(__name__)

_TEXTS = {
    "before_model": "updates or events came before any model",
    "no_solver": "strengths not folded in: the other side's Gramian is singular, as it has too few "
    "vectors for its features; lower als.hyperparams.features, or train on more events",
    "overflow": "vectors left as they were: a strength is too large",
    "unknown": "pairs wait for the next model, which will know their user and item",
}
_LEVELS = {
    "before_model": logging.WARNING,
    "no_solver": logging.WARNING,
    "overflow": logging.WARNING,
    "unknown": logging.DEBUG,
}


class Speed(SpeedModel):
    """The vectors of one generation, moved on by every micro-batch.

    Attributes
    ----------
    counts : Counter of str
        What was passed over: ``before_model`` (updates and events), ``no_solver`` and
        ``overflow`` (vectors that could not be folded in), ``unknown`` (pairs of which the
        model knows neither the user nor the item).
    """

    def __init__(self, settings: Settings) -> None:
        self._known_items = not settings.section("als").no_known_items
        self._model: AlsModel | None = None
        self._users = FactorSide(1)
        self._items = FactorSide(1)
        self.counts: Counter[str] = Counter()

    @property
    def fraction_loaded(self) -> float:
        """Share (0 to 1) of the model's vectors that have come; 1 if none are expected."""
        users, items = self._users, self._items
        n_loaded = len(users.factors) + len(items.factors)
        return fraction_loaded(n_loaded, users.retention, items.retention)

    def load(self, model: ModelMessage) -> None:
        """Take a model over: with its vectors, where there are files, or expecting them.

        Where they come by ``UP``, vectors are kept by Oryx's rule, unless the number of
        features has changed.

        Raises
        ------
        MessageError, StoreError
            If the model or one of its files cannot be read.
        """
        try:
            found = read_als_pmml(model.text)
        except PmmlError as error:
            message = f"not an ALS model: {error}"
            raise MessageError(message) from error
        if model.files is not None:
            users = _stored(model.files, USER_FACTORS, found.features)
            items = _stored(model.files, ITEM_FACTORS, found.features)
            self._users, self._items = users, items
        else:
            if self._model is None or self._model.features != found.features:
                self._users, self._items = FactorSide(found.features), FactorSide(found.features)
            self._users.expect(found.user_ids)
            self._items.expect(found.item_ids)
        self._model = found

    def apply(self, update: str) -> None:
        """Apply the payload of one ``UP``; one that comes before any model is passed over.

        Raises
        ------
        MessageError
            If it cannot be read, or its vector has not the model's length.
        """
        found = decode_update(update)
        if self._model is None:
            self._count("before_model", 1)
            return
        try:
            (self._users if found.kind == "X" else self._items).set(found.id, found.vector)
        except ValueError as error:
            message = f"ALS update of {found.kind} {found.id!r}: {error}"
            raise MessageError(message) from error

    def build_updates(self, events: Events) -> Sequence[str]:
        """Fold events in; one payload for each item and user that they change, items first.

        A user's payload lists the items that have become known, and those that a delete has
        removed; where nothing else has changed it repeats the vector.
        """
        if self._model is None:
            self._count("before_model", len(events))
            return []
        model = self._model
        found = interactions(events.records, events.columns)
        pairs = aggregate(found, model.implicit, model.log_strength, model.epsilon)
        users = _Part.of(pairs.users, self._users.factors)
        items = _Part.of(pairs.items, self._items.factors)
        self._count("unknown", int((~users.known[users.codes] & ~items.known[items.codes]).sum()))
        kept = ~np.isnan(pairs.values)
        moved_users = self._fold(users, items, pairs)
        moved_items = self._fold(items, users, pairs)
        self._users.set_many(users.ids_of(moved_users.changed), moved_users.changed_vectors)
        self._items.set_many(items.ids_of(moved_items.changed), moved_items.changed_vectors)
        return [
            *encode_updates(self._item_updates(items, moved_items, users.names, kept)),
            *encode_updates(self._user_updates(users, moved_users, items.names, kept)),
        ]

    def _fold(self, side: _Part, other: _Part, pairs: Interactions) -> _Moved:
        """Fold all pairs that have a strength into the vectors of one side."""
        assert self._model is not None
        in_time = np.lexsort((pairs.positions, pairs.timestamps))
        usable = other.known[other.codes] & ~np.isnan(pairs.values)
        order = in_time[usable[in_time]]
        unmoved = _Moved(side.vectors, np.zeros(len(side.ids), np.bool_))
        if not len(order):
            return unmoved
        solver = Solver.of(other.gramian)
        if solver is None:
            self._count("no_solver", len(order))
            return unmoved
        current = side.vectors.astype(np.float64)
        fold_in = FoldIn(solver, other.vectors.astype(np.float64), self._model.implicit)
        strengths = Strengths(side.codes[order], other.codes[order], pairs.values[order])
        with np.errstate(over="ignore", invalid="ignore"):
            changed = fold_in.apply(strengths, current, side.known)
            vectors = current.astype(np.float32)
        finite = np.isfinite(vectors).all(axis=1)
        self._count("overflow", int((changed & ~finite).sum()))
        changed &= finite
        return _Moved(np.where(changed[:, np.newaxis], vectors, side.vectors), changed)

    def _item_updates(
        self, items: _Part, moved: _Moved, users: NDArray[np.object_], kept: NDArray[np.bool_]
    ) -> FactorUpdates:
        rows = np.flatnonzero(moved.changed)
        related = _grouped(users[kept], items.codes[kept], rows) if self._known_items else ()
        return FactorUpdates("Y", items.ids_of(moved.changed), moved.changed_vectors, related)

    def _user_updates(
        self, users: _Part, moved: _Moved, items: NDArray[np.object_], kept: NDArray[np.bool_]
    ) -> FactorUpdates:
        if not self._known_items:
            return FactorUpdates("X", users.ids_of(moved.changed), moved.changed_vectors)
        sent = moved.changed | users.known
        rows = np.flatnonzero(sent)
        related = _grouped(items[kept], users.codes[kept], rows)
        removed = () if kept.all() else _grouped(items[~kept], users.codes[~kept], rows)
        return FactorUpdates("X", users.ids_of(sent), moved.vectors[rows], related, removed)

    def _count(self, what: str, number: int) -> None:
        if number:
            self.counts[what] += number
            log.log(_LEVELS[what], "%d %s", number, _TEXTS[what])


@dataclass(frozen=True)
class _Moved:
    """The vectors of one side after a micro-batch, and which of them it has changed."""

    vectors: NDArray[np.float32]
    changed: NDArray[np.bool_]

    @property
    def changed_vectors(self) -> NDArray[np.float32]:
        return self.vectors[self.changed]


@dataclass(frozen=True)
class _Part:
    """The users, or the items, of a micro-batch, as they are at its start.

    Attributes
    ----------
    ids : ndarray of str objects, shape (n,)
        All different.
    codes : ndarray of int64
        For each pair of user and item the row in `ids`.
    vectors : ndarray of float32, shape (n, k)
        Zeros where there is no vector yet.
    known : ndarray of bool, shape (n,)
        Whether there is a vector.
    gramian : ndarray, shape (k, k)
        Of all vectors of the model's side, not of these alone.
    """

    ids: NDArray[np.object_]
    codes: NDArray[np.int64]
    vectors: NDArray[np.float32]
    known: NDArray[np.bool_]
    gramian: NDArray[np.float64]

    @classmethod
    def of(cls, column: pa.DictionaryArray, factors: FactorMatrix) -> _Part:
        """Look the ids of a column up."""
        ids = column.dictionary.to_pylist()
        rows = factors.rows(ids)
        known = rows >= 0
        vectors = np.zeros((len(ids), factors.n_factors), np.float32)
        vectors[known] = factors.vectors[rows[known]]
        codes = column.indices.to_numpy().astype(np.int64)
        return cls(np.array(ids, object), codes, vectors, known, factors.gramian())

    @property
    def names(self) -> NDArray[np.object_]:
        """The id of each pair."""
        return self.ids[self.codes]

    def ids_of(self, rows: NDArray[np.bool_]) -> list[str]:
        """Return the ids of these rows."""
        found: list[str] = self.ids[rows].tolist()
        return found


def _stored(files: Generation, name: str, n_factors: int) -> FactorSide:
    side = FactorSide(n_factors)
    try:
        side.take(read_factors(files.path(name), with_known_items=False), n_factors)
    except ValueError as error:
        message = f"{name} of generation {files.manifest.generation}: {error}"
        raise StoreError(message) from error
    return side


def _grouped(
    names: NDArray[np.object_], codes: NDArray[np.int64], rows: NDArray[np.int64]
) -> list[list[str]]:
    """Return for each of the ascending `rows` the names whose code it is, in order."""
    order = np.argsort(codes, kind="stable")
    picked = names[order].tolist()
    firsts = np.searchsorted(codes[order], rows, side="left").tolist()
    ends = np.searchsorted(codes[order], rows, side="right").tolist()
    return [picked[first:end] for first, end in zip(firsts, ends, strict=True)]
