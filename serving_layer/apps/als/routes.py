"""ALS in the serving layer: its model, its routes, and its rows of the console."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from flask import Blueprint, Response

from serving_layer.apps.als import queries
from serving_layer.apps.als.events import completed, preference_line, strength_of
from serving_layer.apps.als.model import Serving
from serving_layer.apps.als.request import view_of_request
from serving_layer.apps.als.rescorer import Rescorer, RescorerProvider, providers_of
from serving_layer.http.describe import IsQuick
from serving_layer.routes import (
    COUNTS,
    IDS,
    LINES,
    NUMBER,
    NUMBERS,
    PAGE,
    RESCORER,
    ROWS,
    SENT,
    ApiError,
    Body,
    Form,
    body_lines,
    describe,
    flag,
    paging,
    rescorer_params,
    respond_ids,
    respond_rows,
    respond_value,
    respond_values,
    send_events,
    switch,
)

if TYPE_CHECKING:
    from common.config import Settings


KNOWN = switch("considerKnownItems", "Whether items that the user knows may be among them.")
STRENGTH = {kind: {"type": "number"} for kind in ("text/plain", "text/csv", "application/json")}


def blueprint(settings: Settings, clock: Callable[[], float] = time.time) -> Blueprint:
    """Return the routes of ALS.

    Parameters
    ----------
    settings : Settings
        The whole configuration.
    clock : callable, optional
        Seconds since 1970, for events that come without a timestamp.

    Raises
    ------
    ConfigError
        If a class of ``als.rescorer_provider_class`` cannot be used.
    """
    routes = Blueprint("als", __name__)
    provider = providers_of(settings)
    # Of a rescorer's code nothing is known.
    has_rescorer = settings.section("als").rescorer_provider_class is not None
    _recommendation_routes(routes, provider, False if has_rescorer else _is_quick)
    _similarity_routes(routes, provider)
    _estimate_routes(routes)
    _count_routes(routes, provider)
    _id_routes(routes)
    _event_routes(routes, lambda: int(clock() * 1000))
    return routes


def console() -> list[Form]:
    """Return the rows of the console page."""
    page = ("howMany", "offset", "rescorerParams")
    return [
        Form("recommend", "/recommend/{user}", query=("considerKnownItems", *page)),
        Form("recommendToAnonymous", "/recommendToAnonymous/{item 1}/{item 2}", query=page),
        Form("similarity", "/similarity/{item 1}/{item 2}", query=page),
        Form("similarityToItem", "/similarityToItem/{to item}/{item}"),
        Form("estimate", "/estimate/{user}/{item}"),
        Form("because", "/because/{user}/{item}", query=("howMany", "offset")),
        Form("mostSurprising", "/mostSurprising/{user}", query=("howMany", "offset")),
        Form("mostPopularItems", "/mostPopularItems", query=page),
        Form("mostActiveUsers", "/mostActiveUsers", query=page),
        Form("popularRepresentativeItems", "/popularRepresentativeItems"),
        Form("item/allIDs", "/item/allIDs"),
        Form("user/allIDs", "/user/allIDs"),
        Form("knownItems", "/knownItems/{user}"),
        Form("pref", "/pref/{user}/{item}", "POST", body="strength, 1 by default"),
        Form("pref", "/pref/{user}/{item}", "DELETE"),
        Form("ingest", "/ingest", "POST", body="user,item[,strength[,timestamp]]", upload=True),
    ]


def _wanted(rescorer: Callable[[Sequence[str]], Rescorer | None]) -> queries.Wanted:
    """Read paging and, with the request's ``rescorerParams``, the rescorer."""
    page = paging()
    return queries.Wanted(page.how_many, page.skip, rescorer(rescorer_params()))


def _plain_page() -> queries.Wanted:
    page = paging()
    return queries.Wanted(page.how_many, page.skip)


def _is_quick(model: Serving, user: str) -> bool:
    return queries.is_quick(model.view, user)


def _recommendation_routes(routes: Blueprint, provider: RescorerProvider, quick: IsQuick) -> None:
    def to_users(users: list[str], items: Sequence[tuple[str, float]] = ()) -> Response:
        """Recommend to users as one, after they have dealt with some items too."""
        with view_of_request() as view:
            before = queries.together(view, users, flag("considerKnownItems"))
            person = queries.folded_in(view, items, before) or before
            wanted = _wanted(lambda args: provider.recommend(users, args))
            return respond_rows(queries.recommended(view, person, wanted))

    @routes.get("/recommend/<user>")
    @describe(query=[KNOWN, *PAGE, RESCORER], reply=ROWS, quick=quick)
    def recommend(user: str) -> Response:
        """Recommend items to a user, without those he knows unless `considerKnownItems`."""
        return to_users([user])

    @routes.get("/recommendToMany/<segments:users>")
    @describe(query=[KNOWN, *PAGE, RESCORER], reply=ROWS)
    def recommend_to_many(users: list[str]) -> Response:
        """Recommend items to several users as one: the mean of their vectors."""
        return to_users(users)

    @routes.get("/recommendWithContext/<user>/")
    @routes.get("/recommendWithContext/<user>/<items:items>")
    @describe(query=[KNOWN, *PAGE, RESCORER], reply=ROWS)
    def recommend_with_context(user: str, items: Sequence[tuple[str, float]] = ()) -> Response:
        """Recommend to a user as if he had just dealt with these items too."""
        return to_users([user], items)

    @routes.get("/recommendToAnonymous/<items:items>")
    @describe(query=[*PAGE, RESCORER], reply=ROWS)
    def recommend_to_anonymous(items: list[tuple[str, float]]) -> Response:
        """Recommend to somebody who has dealt with these items; unknown ones do not count."""
        with view_of_request() as view:
            ids = [item for item, _ in items]
            wanted = _wanted(lambda args: provider.recommend_to_anonymous(ids, args))
            person = queries.folded_in(view, items)
            if person is None:
                message = f"the model says nothing of any of the items {', '.join(ids)[:200]}"
                raise ApiError(400, "unknown_items", message)
            return respond_rows(queries.recommended(view, person, wanted))


def _similarity_routes(routes: Blueprint, provider: RescorerProvider) -> None:
    @routes.get("/similarity/<segments:items>")
    @describe(query=[*PAGE, RESCORER], reply=ROWS)
    def similarity(items: list[str]) -> Response:
        """List the items most similar to some items taken together."""
        with view_of_request() as view:
            wanted = _wanted(provider.most_similar_items)
            return respond_rows(queries.similar(view, items, wanted))

    @routes.get("/similarityToItem/<to>/<segments:items>")
    @describe(reply=NUMBERS)
    def similarity_to_item(to: str, items: list[str]) -> Response:
        """Compare each item with one; an unknown item has similarity 0."""
        with view_of_request() as view:
            return respond_values(queries.similarities(view, to, items))

    @routes.get("/because/<user>/<item>")
    @describe(query=PAGE, reply=ROWS)
    def because(user: str, item: str) -> Response:
        """List a user's known items, the most similar to `item` first; 404 for an unknown user."""
        with view_of_request() as view:
            return respond_rows(queries.reasons(view, user, item, _plain_page()))

    @routes.get("/popularRepresentativeItems")
    @describe(reply=IDS)
    def popular_representative_items() -> Response:
        """List for each factor the item that has most of it."""
        with view_of_request() as view:
            return respond_ids(queries.representative_items(view))


def _estimate_routes(routes: Blueprint) -> None:
    @routes.get("/estimate/<user>/<segments:items>")
    @describe(reply=NUMBERS)
    def estimate(user: str, items: list[str]) -> Response:
        """Estimate a user's strength for each item; 0 for an unknown item."""
        with view_of_request() as view:
            return respond_values(queries.estimates(view, user, items))

    @routes.get("/estimateForAnonymous/<to>/<items:items>")
    @describe(reply=NUMBER)
    def estimate_for_anonymous(to: str, items: list[tuple[str, float]]) -> Response:
        """Estimate the strength for an item of somebody who has dealt with these items."""
        with view_of_request() as view:
            return respond_value(queries.estimate_after(view, items, to))

    @routes.get("/mostSurprising/<user>")
    @describe(query=PAGE, reply=ROWS)
    def most_surprising(user: str) -> Response:
        """List a user's known items, the one with the smallest estimate first."""
        with view_of_request() as view:
            return respond_rows(queries.surprising(view, user, _plain_page()))


def _count_routes(routes: Blueprint, provider: RescorerProvider) -> None:
    @routes.get("/mostPopularItems")
    @describe(query=[*PAGE, RESCORER], reply=COUNTS)
    def most_popular_items() -> Response:
        """List the items that most users know, with their number."""
        with view_of_request() as view:
            wanted = _wanted(provider.most_popular_items)
            return respond_rows(queries.popular_items(view, wanted), "count")

    @routes.get("/mostActiveUsers")
    @describe(query=[*PAGE, RESCORER], reply=COUNTS)
    def most_active_users() -> Response:
        """List the users who know most items, with their number."""
        with view_of_request() as view:
            wanted = _wanted(provider.most_active_users)
            return respond_rows(queries.active_users(view, wanted), "count")


def _id_routes(routes: Blueprint) -> None:
    @routes.get("/knownItems/<user>")
    @describe(reply=IDS)
    def known_items(user: str) -> Response:
        """List a user's known items; none for an unknown user."""
        with view_of_request() as view:
            return respond_ids(queries.known_items(view, user))

    @routes.get("/item/allIDs")
    @describe(reply=IDS)
    def all_items() -> Response:
        """List the ids of all items."""
        with view_of_request() as view:
            return respond_ids(list(view.items.matrix.ids))

    @routes.get("/user/allIDs")
    @describe(reply=IDS)
    def all_users() -> Response:
        """List the ids of all users."""
        with view_of_request() as view:
            return respond_ids(list(view.users.ids))


def _event_routes(routes: Blueprint, now: Callable[[], int]) -> None:
    @routes.post("/pref/<user>/<item>")
    @describe(body=Body(STRENGTH, required=False), reply=SENT)
    def set_preference(user: str, item: str) -> Response:
        """Record that a user deals with an item; the body's line is the strength."""
        strength = strength_of(body_lines(optional=True))
        return send_events([preference_line(user, item, strength, now())])

    @routes.delete("/pref/<user>/<item>")
    @describe(reply=SENT)
    def remove_preference(user: str, item: str) -> Response:
        """Record that a user has nothing to do with an item any more."""
        return send_events([preference_line(user, item, "", now())])

    @routes.post("/ingest")
    @describe(body=LINES, reply=SENT)
    def ingest() -> Response:
        """Record events, one to a line; all of them, or none where one is bad."""
        return send_events(body_lines(), lambda columns: completed(columns, now()))
