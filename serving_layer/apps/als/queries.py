"""What an ALS model answers: pure functions of a view, without HTTP."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from common.apps.als.fold_in import FoldIn, Strengths
from serving_layer.apps.als.rescorer import Rescorer
from serving_layer.apps.als.view import AlsView
from serving_layer.search import ApproximateIndex, Query, Top, cosines, dots, search_allowed, top_of

Vector = NDArray[np.floating]
Rows = NDArray[np.integer]
Scored = list[tuple[str, float]]
Counted = list[tuple[str, int]]


class NoSolverError(RuntimeError):
    """The items' Gramian is singular: there are too few items to fold a user in."""


class UnknownIdError(LookupError):
    """An id has no vector.

    Attributes
    ----------
    kind : str
        "user" or "item".
    id : str
        The id.
    """

    def __init__(self, kind: str, id: str) -> None:
        super().__init__(f"unknown {kind} {id!r}")
        self.kind = kind
        self.id = id


@dataclass(frozen=True)
class Wanted:
    """Which part of an ordered result is wanted: `n` rows after the first `skip`."""

    n: int = 10
    skip: int = 0
    rescorer: Rescorer | None = None

    @property
    def end(self) -> int:
        """How many rows have to be found."""
        return self.skip + self.n


@dataclass(frozen=True, eq=False)
class Person:
    """Somebody to recommend to.

    Attributes
    ----------
    vector : ndarray, shape (k,)
        The user's vector, or what stands for one.
    known : array of int
        Rows of items not to be recommended.
    """

    vector: Vector
    known: Rows = field(default_factory=lambda: np.zeros(0, np.int64))


def user_vector(view: AlsView, user: str) -> Vector:
    """Return a user's vector; raises UnknownIdError."""
    vector = view.users.get(user)
    if vector is None:
        raise UnknownIdError(kind="user", id=user)
    return vector


def item_vector(view: AlsView, item: str) -> Vector:
    """Return an item's vector; raises UnknownIdError."""
    vector = view.items.matrix.get(item)
    if vector is None:
        raise UnknownIdError(kind="item", id=item)
    return vector


def known_rows(view: AlsView, user: str) -> Rows:
    """Return the rows of a user's known items; none for an unknown user."""
    row = view.users.row(user)
    return np.zeros(0, np.int32) if row is None else view.known.of(row)


def together(view: AlsView, users: Sequence[str], consider_known: bool = False) -> Person:
    """Return users as one: the mean of their vectors, all of their known items.

    With `consider_known` no items count as known, so that all may be recommended.
    """
    vectors = [user_vector(view, user).astype(np.float64) for user in users]
    mean = vectors[0] if len(users) == 1 else np.mean(vectors, axis=0)
    if consider_known:
        return Person(mean)
    known = [known_rows(view, user) for user in users]
    return Person(mean, known[0] if len(users) == 1 else np.unique(np.concatenate(known)))


def folded_in(
    view: AlsView, items: Sequence[tuple[str, float]], before: Person | None = None
) -> Person | None:
    """Return somebody after dealing with items, one after the other; they are known then.

    Oryx's rule for a user who is not, or not yet so, in the model.

    Parameters
    ----------
    view : AlsView
        The model.
    items : sequence of (str, float)
        Items and strengths; unknown items are passed over.
    before : Person, optional
        Who deals with them; an anonymous user if absent.

    Returns
    -------
    Person or None
        None where nothing is known of an anonymous user after all.

    Raises
    ------
    NoSolverError
        If the model has too few items to fold in.
    """
    if not items:
        return before
    rows = view.items.matrix.rows([item for item, _ in items])
    known = rows >= 0
    if not known.any():
        return before
    solver = view.item_solver.get()
    if solver is None:
        message = "no solver available for the model yet: it has too few items"
        raise NoSolverError(message)
    fixed = view.items.take(rows[known]).astype(np.float64)
    values = np.array([value for _, value in items])[known]
    strengths = Strengths(np.zeros(len(fixed), np.int64), np.arange(len(fixed)), values)
    current = np.zeros((1, view.users.n_factors))
    if before is not None:
        current[0] = before.vector
    exists = np.array([before is not None])
    exists |= FoldIn(solver, fixed, view.parameters.implicit).apply(strengths, current, exists)
    if not exists[0]:
        return None
    known_before = before.known if before else rows[:0]
    return Person(current[0], np.union1d(rows[known], known_before))


def recommended(view: AlsView, person: Person, wanted: Wanted) -> Scored:
    """Return the items with the largest inner product, known ones left out."""
    return _searched(view, Query(person.vector, wanted.end, person.known), wanted)


def is_quick(view: AlsView, user: str) -> bool:
    """Whether a user's first page is found without a scan of all items."""
    if not isinstance(view.search, ApproximateIndex):
        return False
    return view.search.is_quick(Wanted().end + len(known_rows(view, user)))


def similar(view: AlsView, items: Sequence[str], wanted: Wanted) -> Scored:
    """Return the items with the largest cosine to the sum of some items, these left out."""
    vectors = np.array([item_vector(view, item) for item in items], np.float64)
    rows = view.items.matrix.rows(items)
    return _searched(view, Query(vectors.sum(axis=0), wanted.end, rows, cosine=True), wanted)


def similarities(view: AlsView, to: str, items: Sequence[str]) -> list[float]:
    """Return the cosine of each item with one; 0 for unknown ones."""
    return _each_or_zero(view, items, cosines, item_vector(view, to))


def estimates(view: AlsView, user: str, items: Sequence[str]) -> list[float]:
    """Return the inner product of a user with each item; 0 for unknown ones."""
    return _each_or_zero(view, items, dots, user_vector(view, user))


def estimate_after(view: AlsView, items: Sequence[tuple[str, float]], to: str) -> float:
    """Return what :func:`estimates` would for somebody who has dealt with some items.

    0 where they say nothing of anybody; otherwise as :func:`folded_in`.
    """
    vector = item_vector(view, to)
    person = folded_in(view, items)
    return 0.0 if person is None else float(dots(vector[np.newaxis], person.vector)[0])


def reasons(view: AlsView, user: str, item: str, wanted: Wanted) -> Scored:
    """Return a user's known items, the most similar to an item first.

    Unlike Oryx's code, and like its documentation, this knows no unknown user.
    """
    vector = item_vector(view, item)
    user_vector(view, user)
    rows = known_rows(view, user).astype(np.int64)
    top = top_of(rows, cosines(view.items.take(rows), vector), wanted.end)
    return _scored(view, top, wanted)


def surprising(view: AlsView, user: str, wanted: Wanted) -> Scored:
    """Return a user's known items, the one with the smallest estimate first."""
    vector = user_vector(view, user)
    rows = known_rows(view, user).astype(np.int64)
    top = top_of(rows, -dots(view.items.take(rows), vector), wanted.end)
    return _scored(view, Top(top.rows, -top.scores), wanted)


def popular_items(view: AlsView, wanted: Wanted) -> Counted:
    """Return the items that most users know, and how many do."""
    ids = view.items.matrix.ids
    return _counted(ids, view.known.item_counts(len(view.items.matrix)), wanted)


def active_users(view: AlsView, wanted: Wanted) -> Counted:
    """Return the users who know most items, and how many."""
    return _counted(view.users.ids, view.known.user_counts(len(view.users)), wanted)


def representative_items(view: AlsView) -> list[str]:
    """Return for each factor the item with the largest value."""
    units = np.eye(view.users.n_factors, dtype=np.float32)
    tops = view.index.top_n([Query(unit, 1) for unit in units])
    return [view.items.matrix.ids[row] for top in tops for row in top.rows.tolist()]


def known_items(view: AlsView, user: str) -> list[str]:
    """Return the ids of a user's known items in row order; none for an unknown user."""
    return [view.items.matrix.ids[row] for row in np.sort(known_rows(view, user)).tolist()]


def _searched(view: AlsView, query: Query, wanted: Wanted) -> Scored:
    rescorer = wanted.rescorer
    if rescorer is None:
        top = view.search.ask(query)
    elif rescorer.only_filters:
        top = search_allowed(
            lambda n: view.search.ask(replace(query, n=n)),
            query.n,
            _allowed(view.items.matrix.ids, rescorer),
        )
    else:
        top = _rescored(view, query, rescorer)
    return _scored(view, top, wanted)


def _rescored(view: AlsView, query: Query, rescorer: Rescorer) -> Top:
    """Give every row to the rescorer: any of them may end at the top."""
    scores = view.index.scores(query)
    rows = np.flatnonzero(~np.isnan(scores))
    ids = [view.items.matrix.ids[row] for row in rows.tolist()]
    return top_of(rows, rescorer.rescore_all(ids, scores[rows]), query.n)


def _allowed(ids: Sequence[str], rescorer: Rescorer) -> Callable[[Rows], NDArray[np.bool_]]:
    def allowed(rows: Rows) -> NDArray[np.bool_]:
        return np.array([not rescorer.is_filtered(ids[row]) for row in rows.tolist()], np.bool_)

    return allowed


def _scored(view: AlsView, top: Top, wanted: Wanted) -> Scored:
    rows, scores = top.rows[wanted.skip :].tolist(), top.scores[wanted.skip :].tolist()
    ids = view.items.matrix.ids
    return [(ids[row], score) for row, score in zip(rows, scores, strict=True)]


def _counted(ids: Sequence[str], counts: NDArray[np.int32], wanted: Wanted) -> Counted:
    rows = np.flatnonzero(counts)
    found = counts[rows].astype(np.float64)

    def search(n: int) -> Top:
        return top_of(rows, found, n)

    if wanted.rescorer is None:
        top = search(wanted.end)
    else:
        top = search_allowed(search, wanted.end, _allowed(ids, wanted.rescorer))
    return [(ids[row], int(counts[row])) for row in top.rows[wanted.skip :].tolist()]


def _each_or_zero(
    view: AlsView,
    items: Sequence[str],
    score: Callable[[NDArray[np.floating], Vector], NDArray[np.float64]],
    vector: Vector,
) -> list[float]:
    rows = view.items.matrix.rows(items)
    known = rows >= 0
    scores = np.zeros(len(rows))
    scores[known] = score(view.items.take(rows[known]), vector)
    return [*map(float, scores)]
