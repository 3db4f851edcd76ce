"""The ALS model of the serving layer: loaded from files or messages, and kept up to date."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from common.apps.als.payload import FactorUpdate, decode_updates
from common.apps.als.pmml import AlsModel, read_als_pmml, write_als_pmml
from common.config import Settings
from common.factors.columns import Lists
from common.factors.files import StoredFactors, read_factors
from common.factors.known_items import KnownItems
from common.factors.matrix import FactorMatrix
from common.factors.retention import Retention, fraction_loaded
from common.pmml.documents import PmmlError
from common.replica.updates import ModelMessage
from common.store.generations import Generation, StoreError
from common.wire.messages import MessageError
from serving_layer.api import ServingModel
from serving_layer.apps.als.view import AlsView, Content
from serving_layer.search import Approximation

#: Users and items that may come after a generation, as a share of its own, before all are copied.
_ROOM = 0.25


class Serving(ServingModel):
    """One ALS model; :attr:`view` is what requests use.

    A model with files is complete at once.  One without gets its vectors by ``UP`` messages,
    and says by :attr:`fraction_loaded` how many of the ids in its PMML have come.  For a further
    model loaded into the same instance vectors and known items stay by Oryx's rule (see
    :class:`common.factors.retention.Retention`), none where the number of features differs.

    Parameters
    ----------
    settings : Settings
        The whole configuration.
    clock : callable, optional
        Seconds since 1970, for the PMML's timestamp.
    """

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.time) -> None:
        self._keeps_known = not settings.section("als").no_known_items
        self._approximation = _approximation(settings)
        self._clock = clock
        self._view: AlsView | None = None
        self._users, self._items = Retention(), Retention()
        # Known items that have no vector yet, and so no row: item -> rows of its users.
        self._waiting: dict[str, set[int]] = {}

    @property
    def view(self) -> AlsView:
        """The model, which one request asks for once.

        Raises
        ------
        MessageError
            If none has been loaded.
        """
        if self._view is None:
            message = "no ALS model has been loaded"
            raise MessageError(message)
        return self._view

    @property
    def fraction_loaded(self) -> float:
        """Vectors held as a share of these and the ones still expected; 1 if none are."""
        if self._view is None:
            return 0.0
        n_loaded = len(self._view.users) + len(self._view.items.matrix)
        return fraction_loaded(n_loaded, self._users, self._items)

    def load(self, model: ModelMessage) -> None:
        """Take over a model: its files' content, or what is kept of the model before.

        Raises
        ------
        MessageError
            If its PMML cannot be read.
        StoreError
            If its files cannot, or do not belong together.
        """
        try:
            # Files have all ids beside their vectors.
            pmml = read_als_pmml(model.text, with_ids=model.files is None)
        except PmmlError as error:
            message = f"model of generation {model.generation}: {error}"
            raise MessageError(message) from error
        if model.files is not None:
            content = self._read(pmml, model.files)
            self._waiting = {}
        elif self._view is not None and self._view.parameters.features == pmml.features:
            content = self._retain(pmml, self._view)
        else:
            content = _empty(pmml)
            self._waiting = {}
        self._users.begin(content.users, pmml.user_ids)
        self._items.begin(content.items, pmml.item_ids)
        self._view = AlsView.of(content, self._approximation)

    def apply(self, update: str) -> None:
        """Replace one vector, and change the known items that come with it.

        Raises
        ------
        MessageError
            If the payload cannot be read, or its vector has not the model's length.
        """
        for error in self.apply_many([update]):
            raise error

    def apply_many(self, updates: Sequence[str]) -> list[MessageError]:
        """Apply updates, those of one side in one go; return what is wrong with the others."""
        view = self.view
        found, refused = decode_updates(updates, view.parameters.features)
        # Known items that have no vector yet wait for it, so that either side may come first.
        self._set_items(view, [update for update in found if update.kind == "Y"])
        self._set_users(view, [update for update in found if update.kind == "X"])
        return refused

    def to_pmml(self) -> bytes:
        """Return the model as PMML 4.4, with the ids that have a vector now."""
        view = self.view
        model = replace(
            view.parameters,
            user_ids=list(view.users.ids),
            item_ids=list(view.items.matrix.ids),
            timestamp=int(self._clock() * 1000),
        )
        return write_als_pmml(model)

    # -- updates ------------------------------------------------------------------------

    def _set_items(self, view: AlsView, updates: Sequence[FactorUpdate]) -> None:
        if not updates:
            return
        n_before = len(view.items.matrix)
        ids, vectors = _columns(updates)
        for id, row in zip(ids, view.items.set_many(ids, vectors).tolist(), strict=True):
            if row >= n_before:
                self._items.add([id])
                for user in self._waiting.pop(id, ()):
                    view.known.add(user, [row])

    def _set_users(self, view: AlsView, updates: Sequence[FactorUpdate]) -> None:
        if not updates:
            return
        n_before = len(view.users)
        ids, vectors = _columns(updates)
        for update, row in zip(updates, view.users.set_many(ids, vectors).tolist(), strict=True):
            if row >= n_before:
                self._users.add([update.id])
            if self._keeps_known:
                self._change_known(view, row, update)

    def _change_known(self, view: AlsView, user: int, update: FactorUpdate) -> None:
        if update.removed:
            removed = view.items.matrix.rows(update.removed)
            view.known.remove(user, removed[removed >= 0])
            for item in update.removed:
                self._waiting.get(item, set()).discard(user)
        if update.related:
            related = view.items.matrix.rows(update.related)
            view.known.add(user, related[related >= 0])
            for at in np.flatnonzero(related < 0):
                self._waiting.setdefault(update.related[at], set()).add(user)

    # -- models -------------------------------------------------------------------------

    def _read(self, pmml: AlsModel, files: Generation) -> Content:
        users = read_factors(files.path(pmml.user_factors), room=_ROOM)
        items = read_factors(files.path(pmml.item_factors), room=_ROOM)
        try:
            n_items = len(items.id_column) if self._keeps_known else 0
            known = _known_items(users.known_items, n_items)
            return Content(_without_ids(pmml), _matrix(pmml, users), _matrix(pmml, items), known)
        except ValueError as error:
            message = f"the files of generation {files.manifest.generation}: {error}"
            raise StoreError(message) from error

    def _retain(self, pmml: AlsModel, before: AlsView) -> Content:
        """Return what stays of the view before; that one is left as it is."""
        user_rows = self._users.kept_rows(before.users, pmml.user_ids)
        item_rows = self._items.kept_rows(before.items.matrix, pmml.item_ids)
        new_user = _renumbered(user_rows, len(before.users))
        self._waiting = {
            item: {int(new_user[row]) for row in rows if new_user[row] >= 0}
            for item, rows in self._waiting.items()
        }
        return Content(
            _without_ids(pmml),
            before.users.select(user_rows),
            before.items.matrix.select(item_rows),
            before.known.select(user_rows, _renumbered(item_rows, len(before.items.matrix))),
        )


def _approximation(settings: Settings) -> Approximation | None:
    top_n = settings.section("als").top_n
    if top_n.approximate_above_items is None:
        return None
    return Approximation(top_n.approximate_above_items, top_n.recall, settings.ml.seed)


def _columns(updates: Sequence[FactorUpdate]) -> tuple[list[str], NDArray[np.float32]]:
    return [update.id for update in updates], np.stack([update.vector for update in updates])


def _empty(pmml: AlsModel) -> Content:
    matrices = FactorMatrix(pmml.features), FactorMatrix(pmml.features)
    return Content(_without_ids(pmml), *matrices, KnownItems())


def _without_ids(pmml: AlsModel) -> AlsModel:
    return replace(pmml, user_ids=(), item_ids=())


def _matrix(pmml: AlsModel, stored: StoredFactors) -> FactorMatrix:
    return FactorMatrix(pmml.features, stored.id_column, stored.vectors)


def _known_items(lists: Lists | None, n_items: int) -> KnownItems:
    """Make known items of a file's column; none where they are not kept (`n_items` 0)."""
    if lists is None or not n_items:
        return KnownItems()
    if len(lists.values) and lists.values.max() >= n_items:
        message = f"known item row {lists.values.max()}, but there are {n_items} items"
        raise ValueError(message)
    return KnownItems(lists.offsets, lists.values)


def _renumbered(kept: NDArray[np.int64], n_rows: int) -> NDArray[np.int32]:
    """Return the new row of each old row, -1 where it goes."""
    new = np.full(n_rows, -1, np.int32)
    new[kept] = np.arange(len(kept))
    return new
