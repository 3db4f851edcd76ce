"""Events, and the results of queries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Event:
    """A user's interaction with an item.

    Attributes
    ----------
    user, item : str
        Ids, with any characters.
    strength : float or None
        Strength of the interaction; None deletes it.
    timestamp : int or None
        Milliseconds since 1970; None is the time at which the server receives the event.
    """

    user: str
    item: str
    strength: float | None = 1.0
    timestamp: int | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the event in the form of the server's JSON."""
        event = {"user": self.user, "item": self.item, "strength": self.strength}
        return event if self.timestamp is None else {**event, "timestamp": self.timestamp}


@dataclass(frozen=True, slots=True)
class ScoredItem:
    """An item and its score; higher is better."""

    id: str
    score: float


@dataclass(frozen=True, slots=True)
class CountedItem:
    """An item and the number of users who know it."""

    id: str
    count: int


@dataclass(frozen=True, slots=True)
class Estimate:
    """An item and a user's estimated strength; None if the item is not in the model."""

    id: str
    score: float | None


@dataclass(frozen=True, slots=True)
class UserRecommendations:
    """One user's recommendations, best first.

    Attributes
    ----------
    user : str
        The user.
    items : list of ScoredItem
        The items; empty if there is an error.
    error : str or None
        The error's code: ``unknown_id`` for a user that is not in the model.
    """

    user: str
    items: list[ScoredItem] = field(default_factory=list)
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Assignment:
    """The cluster whose center is nearest to a record, and the Euclidean distance to it."""

    cluster: int
    distance: float


@dataclass(frozen=True, slots=True)
class Prediction:
    """The prediction for a record: a class and the classes' probabilities, or a number."""

    value: str | float
    probabilities: dict[str, float] | None = None


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether the server can answer queries, what is missing, and the share (0 to 1) loaded."""

    ready: bool
    missing: str | None
    fraction_loaded: float
    generation: int | None


def scored(rows: list[Mapping[str, Any]]) -> list[ScoredItem]:
    """Parse items with scores."""
    return [ScoredItem(row["id"], row["score"]) for row in rows]


def user_recommendations(row: Mapping[str, Any]) -> UserRecommendations:
    """Parse one user's result of a batch."""
    error = row["error"]["code"] if row.get("error") else None
    return UserRecommendations(row["user"], scored(row["items"]), error)
