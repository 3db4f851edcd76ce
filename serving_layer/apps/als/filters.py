"""What the JSON resources ask of an ALS view beyond Oryx's queries: batches and filters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from serving_layer.apps.als import queries
from serving_layer.apps.als.rescorer import Rescorer, chain
from serving_layer.apps.als.view import AlsView
from serving_layer.search import ApproximateIndex, Query, Top, dots, top_of

#: Queries that share one pass over the items: more would hold more scores than they save time.
TOGETHER = 32


@dataclass(frozen=True)
class Filter:
    """Which items may be recommended: those of `include`, or all if empty, without `exclude`."""

    include: Sequence[str] = ()
    exclude: Sequence[str] = ()


class Without(Rescorer):
    """Filters ids."""

    def __init__(self, ids: Sequence[str]) -> None:
        self._ids = frozenset(ids)

    def is_filtered(self, id: str) -> bool:
        """Tell whether the id is one of them."""
        return id in self._ids


def without(wanted: queries.Wanted, ids: Sequence[str]) -> queries.Wanted:
    """Return what is wanted less some ids."""
    return replace(wanted, rescorer=chain([wanted.rescorer, Without(ids)])) if ids else wanted


def recommended(
    view: AlsView, person: queries.Person, wanted: queries.Wanted, allowed: Filter
) -> queries.Scored:
    """Return the best items for one person among those that are allowed."""
    found = _less(view, person, allowed.exclude)
    if allowed.include:
        return _among(view, found, wanted, allowed.include)
    return queries.recommended(view, found, wanted)


def recommended_each(
    view: AlsView, persons: Sequence[queries.Person], wanted: queries.Wanted, allowed: Filter
) -> list[queries.Scored]:
    """Return the best items for each of several persons, together.

    There is no rescorer here: which one applies depends on the person.
    """
    if allowed.include:
        return [recommended(view, person, wanted, allowed) for person in persons]
    asked = [
        Query(person.vector, wanted.end, _less(view, person, allowed.exclude).known)
        for person in persons
    ]
    return [_named(view, top, wanted) for top in _tops(view, asked)]


def _tops(view: AlsView, asked: Sequence[Query]) -> list[Top]:
    """Answer queries in common passes; one by one where each looks at a part of the items."""
    if isinstance(view.search, ApproximateIndex) and view.search.stands():
        return [view.search.ask(query) for query in asked]
    return [
        top
        for start in range(0, len(asked), TOGETHER)
        for top in view.index.top_n(asked[start : start + TOGETHER])
    ]


def known_rows(view: AlsView, ids: Sequence[str]) -> queries.Rows:
    """Return the rows of those items that the model holds, each once, ascending."""
    rows = view.items.matrix.rows(ids)
    return np.unique(rows[rows >= 0])


def _less(view: AlsView, person: queries.Person, ids: Sequence[str]) -> queries.Person:
    """Return a person to whom some more items are not to be recommended."""
    if not ids:
        return person
    return replace(person, known=np.union1d(person.known, known_rows(view, ids)))


def _among(
    view: AlsView, person: queries.Person, wanted: queries.Wanted, include: Sequence[str]
) -> queries.Scored:
    rows = np.setdiff1d(known_rows(view, include), person.known).astype(np.int64)
    scores = dots(view.items.take(rows), person.vector)
    if wanted.rescorer is not None:
        ids = [view.items.matrix.ids[row] for row in rows.tolist()]
        scores = wanted.rescorer.rescore_all(ids, scores)
    return _named(view, top_of(rows, scores, wanted.end), wanted)


def _named(view: AlsView, top: Top, wanted: queries.Wanted) -> queries.Scored:
    ids = view.items.matrix.ids
    rows, scores = top.rows[wanted.skip :].tolist(), top.scores[wanted.skip :].tolist()
    return [(ids[row], score) for row, score in zip(rows, scores, strict=True)]
