"""The JSON resources of ALS."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from flask import Blueprint, Response

from common.base.lines import join_line
from serving_layer.apps.als import filters as als_search
from serving_layer.apps.als import queries
from serving_layer.apps.als.bodies import (
    BatchResult,
    CountedItem,
    CountedItems,
    Estimate,
    EstimateQuery,
    Estimates,
    Event,
    FilteredQuery,
    KnownItems,
    Page,
    PageQuery,
    RecommendBatch,
    RecommendQuery,
    ScoredItem,
    ScoredItems,
    Session,
    UserError,
    UserResult,
)
from serving_layer.apps.als.events import completed
from serving_layer.apps.als.request import view_of_request
from serving_layer.apps.als.rescorer import Rescorer, RescorerProvider, providers_of
from serving_layer.apps.als.view import AlsView
from serving_layer.events.ingest import reads
from serving_layer.events.json_events import EventForm, events_route
from serving_layer.http.describe import describe
from serving_layer.http.errors import ApiError, unknown_id
from serving_layer.http.json_replies import JSON, replies, reply
from serving_layer.http.v1 import PREFIX
from serving_layer.request.json_requests import body, query

if TYPE_CHECKING:
    from common.config import Settings


def resources(settings: Settings, clock: Callable[[], float] = time.time) -> Blueprint:
    """Return the JSON resources of ALS.

    Parameters
    ----------
    settings : Settings
        The whole configuration.
    clock : callable, optional
        Seconds since 1970, for events that come without a timestamp.
    """
    routes = Blueprint("als_v1", __name__, url_prefix=PREFIX)
    provider = providers_of(settings)
    _recommendations(routes, provider)
    _user_resources(routes)
    _item_resources(routes, provider)

    form = EventForm(Event, _line, lambda columns: completed(columns, int(clock() * 1000)))
    events_route(routes, form)
    return routes


def _batch(
    view: AlsView, asked: RecommendBatch, provider: RescorerProvider
) -> dict[str, queries.Scored]:
    """Recommend to the known ones of a batch's users."""
    users = list(dict.fromkeys(user for user in asked.users if user in view.users))
    persons = [queries.together(view, [user], asked.consider_known_items) for user in users]
    rescorers = [provider.recommend([user], asked.rescorer_params) for user in users]
    allowed = als_search.Filter(asked.include, asked.exclude)
    wanted = queries.Wanted(asked.how_many, asked.offset)
    if all(rescorer is None for rescorer in rescorers):
        found = als_search.recommended_each(view, persons, wanted, allowed)
    else:
        found = [
            als_search.recommended(view, person, replace(wanted, rescorer=rescorer), allowed)
            for person, rescorer in zip(persons, rescorers, strict=True)
        ]
    return dict(zip(users, found, strict=True))


def _result(user: str, rows: queries.Scored | None) -> UserResult:
    if rows is None:
        error = unknown_id("user", user)
        return UserResult(user=user, error=UserError(code=error.error_code, detail=error.message))
    return UserResult(user=user, items=_items(rows))


def _items(rows: queries.Scored) -> list[ScoredItem]:
    return [ScoredItem(id=id, score=score) for id, score in rows]


def _one_more(asked: PageQuery, rescorer: Rescorer | None = None) -> queries.Wanted:
    """Ask for a row beyond the page, which tells whether there is another page."""
    return queries.Wanted(asked.how_many + 1, asked.offset, rescorer)


def _page(asked: PageQuery, found: int) -> Page:
    more = found > asked.how_many
    return Page(
        how_many=min(found, asked.how_many),
        offset=asked.offset,
        next_offset=asked.offset + asked.how_many if more else None,
    )


def _scored(asked: PageQuery, rows: queries.Scored) -> Response:
    items = _items(rows[: asked.how_many])
    return reply(ScoredItems(items=items, page=_page(asked, len(rows))))


def _line(event: Event) -> str:
    strength = "" if event.strength is None else repr(event.strength)
    timestamp = [] if event.timestamp is None else [str(event.timestamp)]
    return join_line([event.user, event.item, strength, *timestamp])


def _recommendations(routes: Blueprint, provider: RescorerProvider) -> None:
    @routes.post("/recommend")
    @reads
    @describe(body={JSON: RecommendBatch}, reply=replies(BatchResult))
    def recommend() -> Response:
        """Recommend items to many users in one request; an unknown user does not fail the rest."""
        asked = body(RecommendBatch)
        with view_of_request() as view:
            rows = _batch(view, asked, provider)
        results = [_result(user, rows.get(user)) for user in asked.users]
        unknown = sum(result.error is not None for result in results)
        return reply(BatchResult(results=results, unknown_users=unknown))

    @routes.get("/users/<user>/recommendations")
    @describe(query=RecommendQuery, reply=replies(ScoredItems))
    def recommendations(user: str) -> Response:
        """Recommend items to a user."""
        asked = query(RecommendQuery)
        allowed = als_search.Filter(asked.include, asked.exclude)
        with view_of_request() as view:
            person = queries.together(view, [user], asked.consider_known_items)
            wanted = _one_more(asked, provider.recommend([user], asked.rescorer_params))
            return _scored(asked, als_search.recommended(view, person, wanted, allowed))

    @routes.post("/recommend-after")
    @reads
    @describe(body={JSON: Session}, reply=replies(ScoredItems))
    def recommend_after() -> Response:
        """Recommend items to somebody who has just dealt with some, known user or not."""
        asked = body(Session)
        allowed = als_search.Filter(asked.include, asked.exclude)
        with view_of_request() as view:
            person = _in_session(view, asked)
            wanted = _one_more(asked, _rescorer_for(asked, provider))
            return _scored(asked, als_search.recommended(view, person, wanted, allowed))


def _in_session(view: AlsView, asked: Session) -> queries.Person:
    users = [] if asked.user is None else [asked.user]
    before = queries.together(view, users, asked.consider_known_items) if users else None
    person = queries.folded_in(view, [(item.id, item.strength) for item in asked.items], before)
    if person is None:
        raise ApiError(400, "unknown_items", "the model says nothing of any of these items")
    return person


def _rescorer_for(asked: Session, provider: RescorerProvider) -> Rescorer | None:
    if asked.user is not None:
        return provider.recommend([asked.user], asked.rescorer_params)
    return provider.recommend_to_anonymous([item.id for item in asked.items], asked.rescorer_params)


def _user_resources(routes: Blueprint) -> None:
    @routes.get("/users/<user>/known-items")
    @describe(reply=replies(KnownItems))
    def known_items(user: str) -> Response:
        """List the items that a user knows."""
        with view_of_request() as view:
            queries.user_vector(view, user)
            return reply(KnownItems(items=queries.known_items(view, user)))

    @routes.get("/users/<user>/estimates")
    @describe(query=EstimateQuery, reply=replies(Estimates))
    def estimates(user: str) -> Response:
        """Estimate a user's strength for each of some items."""
        items = query(EstimateQuery).items
        with view_of_request() as view:
            held = view.items.matrix.rows(items) >= 0
            scores = queries.estimates(view, user, items)
        found = zip(items, scores, held.tolist(), strict=True)
        rows = [Estimate(id=item, score=score if known else None) for item, score, known in found]
        return reply(Estimates(estimates=rows))

    @routes.get("/users/<user>/items/<item>/reasons")
    @describe(query=PageQuery, reply=replies(ScoredItems))
    def reasons(user: str, item: str) -> Response:
        """List a user's known items, the most similar to an item first."""
        asked = query(PageQuery)
        with view_of_request() as view:
            return _scored(asked, queries.reasons(view, user, item, _one_more(asked)))


def _item_resources(routes: Blueprint, provider: RescorerProvider) -> None:
    @routes.get("/items/<item>/similar")
    @describe(query=FilteredQuery, reply=replies(ScoredItems))
    def similar(item: str) -> Response:
        """List the items most similar to an item, by cosine."""
        asked = query(FilteredQuery)
        rescorer = provider.most_similar_items(asked.rescorer_params)
        with view_of_request() as view:
            wanted = als_search.without(_one_more(asked, rescorer), asked.exclude)
            return _scored(asked, queries.similar(view, [item], wanted))

    @routes.get("/popular-items")
    @describe(query=FilteredQuery, reply=replies(CountedItems))
    def popular_items() -> Response:
        """List the items that most users know."""
        asked = query(FilteredQuery)
        rescorer = provider.most_popular_items(asked.rescorer_params)
        with view_of_request() as view:
            wanted = als_search.without(_one_more(asked, rescorer), asked.exclude)
            rows = queries.popular_items(view, wanted)
        items = [CountedItem(id=id, count=count) for id, count in rows[: asked.how_many]]
        return reply(CountedItems(items=items, page=_page(asked, len(rows))))
