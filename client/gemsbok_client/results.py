"""What is sent and what comes back, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Event:
    """A user deals with an item.

    Attributes
    ----------
    user, item : str
        Ids, of any characters.
    strength : float or None
        How strongly; None takes it back.
    timestamp : int or None
        Milliseconds since 1970; None is when the server receives it.
    """

    user: str
    item: str
    strength: float | None = 1.0
    timestamp: int | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the event as the server reads it."""
        found = {"user": self.user, "item": self.item, "strength": self.strength}
        return found if self.timestamp is None else {**found, "timestamp": self.timestamp}


@dataclass(frozen=True, slots=True)
class ScoredItem:
    """An item and its score: the higher the better."""

    id: str
    score: float


@dataclass(frozen=True, slots=True)
class CountedItem:
    """An item and the number of users who know it."""

    id: str
    count: int


@dataclass(frozen=True, slots=True)
class Estimate:
    """An item and a user's estimated strength; None where the model does not hold the item."""

    id: str
    score: float | None


@dataclass(frozen=True, slots=True)
class UserRecommendations:
    """One user's recommendations, the best first.

    Attributes
    ----------
    user : str
        The user.
    items : list of ScoredItem
        Empty where there is an error.
    error : str or None
        Why there is nothing: ``unknown_id`` for a user that the model does not hold.
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
    """What is predicted for a record: a class and each class's probability, or a number."""

    value: str | float
    probabilities: dict[str, float] | None = None


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether queries can be answered, what is missing, and which share (0 to 1) is loaded."""

    ready: bool
    missing: str | None
    fraction_loaded: float
    generation: int | None


def scored(rows: list[Mapping[str, Any]]) -> list[ScoredItem]:
    """Read items with scores."""
    return [ScoredItem(row["id"], row["score"]) for row in rows]


def user_recommendations(row: Mapping[str, Any]) -> UserRecommendations:
    """Read one user's part of a batch."""
    error = row["error"]["code"] if row.get("error") else None
    return UserRecommendations(row["user"], scored(row["items"]), error)
