"""Queries to an ALS model: recommendations, similar items, reasons."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from gemsbok_client import bulk
from gemsbok_client.connection import Connection
from gemsbok_client.results import (
    CountedItem,
    Estimate,
    ScoredItem,
    UserRecommendations,
    scored,
    user_recommendations,
)

if TYPE_CHECKING:
    import pandas as pd
    from typing_extensions import Unpack

    from gemsbok_client.options import FilterOptions, PageOptions, RecommendOptions

#: Largest number of users in a request; more are split into several requests.
MAX_USERS = 500


class Recommendations:
    """The part of :class:`Client` that queries an ALS model.

    Parameters
    ----------
    server : Connection
        Connection to the server.
    """

    def __init__(self, server: Connection) -> None:
        self._server = server

    def recommend(self, user: str, **options: Unpack[RecommendOptions]) -> list[ScoredItem]:
        """Return recommended items for a user, best first.

        Parameters
        ----------
        user : str
            The user.
        **options
            See :class:`RecommendOptions`.

        Raises
        ------
        ApiError
            404 ``unknown_id`` for a user that is not in the model.
        """
        reply = self._server.get(f"/v1/users/{_segment(user)}/recommendations", options)
        return scored(reply["items"])

    def recommend_after(
        self,
        items: Mapping[str, float],
        user: str | None = None,
        **options: Unpack[RecommendOptions],
    ) -> list[ScoredItem]:
        """Return recommended items for a user who has just interacted with the given items.

        Parameters
        ----------
        items : mapping from str to float
            Items and strengths, in order; they are not recommended.
        user : str, optional
            The user; an anonymous one if absent.
        **options
            See :class:`RecommendOptions`.
        """
        interactions = [{"id": id, "strength": strength} for id, strength in items.items()]
        query = {"items": interactions, **({"user": user} if user is not None else {}), **options}
        return scored(self._ask("/v1/recommend-after", query)["items"])

    def recommend_many(
        self, users: Iterable[str], **options: Unpack[RecommendOptions]
    ) -> Iterator[UserRecommendations]:
        """Yield the recommendations of each user, in order, as the replies arrive.

        The result of an unknown user has an error and no items.
        """
        for batch in bulk.batches(users, MAX_USERS):
            for row in self._ask("/v1/recommend", {"users": batch, **options})["results"]:
                yield user_recommendations(row)

    def recommendations_frame(
        self, users: Iterable[str], **options: Unpack[RecommendOptions]
    ) -> pd.DataFrame:
        """Return the recommendations of many users as a DataFrame.

        Returns
        -------
        DataFrame
            Columns ``user``, ``rank`` (from 1), ``item``, ``score``.  Users that are not in the
            model have no rows and are listed in ``attrs["unknown_users"]``.

        Raises
        ------
        ImportError
            If pandas is not installed.
        """
        try:
            from gemsbok_client.frames import recommendations_frame
        except ImportError as error:
            message = "frames need pandas: pip install pandas"
            raise ImportError(message) from error
        return recommendations_frame(self.recommend_many(users, **options))

    def similar_items(self, item: str, **options: Unpack[FilterOptions]) -> list[ScoredItem]:
        """Return the items most similar to an item, by cosine."""
        return scored(self._server.get(f"/v1/items/{_segment(item)}/similar", options)["items"])

    def estimates(self, user: str, items: Sequence[str]) -> list[Estimate]:
        """Return a user's estimated strength for each of the items."""
        reply = self._server.get(f"/v1/users/{_segment(user)}/estimates", {"items": items})
        return [Estimate(row["id"], row["score"]) for row in reply["estimates"]]

    def because(self, user: str, item: str, **options: Unpack[PageOptions]) -> list[ScoredItem]:
        """Return the user's known items, most similar to `item` first."""
        path = f"/v1/users/{_segment(user)}/items/{_segment(item)}/reasons"
        return scored(self._server.get(path, options)["items"])

    def known_items(self, user: str) -> list[str]:
        """Return the user's known items."""
        return [
            str(id) for id in self._server.get(f"/v1/users/{_segment(user)}/known-items")["items"]
        ]

    def popular_items(self, **options: Unpack[FilterOptions]) -> list[CountedItem]:
        """Return the items that most users know."""
        rows = self._server.get("/v1/popular-items", options)["items"]
        return [CountedItem(row["id"], row["count"]) for row in rows]

    def _ask(self, path: str, query: Mapping[str, Any]) -> Any:
        return self._server.post(path, bulk.body(query), repeat=True)


def _segment(id: str) -> str:
    """Return an id as one path segment; ``.`` and ``..`` are escaped too: they would navigate."""
    return id.replace(".", "%2E") if id in (".", "..") else quote(id, safe="")
