"""What the JSON resources of ALS take and give."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, BeforeValidator, Field, WithJsonSchema, model_validator

from serving_layer.http.parameters import MAX_ROWS
from serving_layer.request.json_requests import BodyModel, QueryModel

#: Users of one batch; more of them go into another.
MAX_USERS = 1000
#: Rows that all users of a batch may ask for together.
MAX_BATCH_ROWS = 1_000_000
#: Ids in one list of a request.
MAX_IDS = 1000

Id = Annotated[str, Field(min_length=1)]
#: An id in an event, where an integer stands for its digits: tables often have such ids.
EventId = Annotated[
    Id,
    BeforeValidator(lambda given: str(given) if type(given) is int else given),
    WithJsonSchema({"type": ["string", "integer"], "minLength": 1}),
]
Ids = Annotated[list[Id], Field(max_length=MAX_IDS)]


class PageQuery(QueryModel):
    """Which rows are wanted."""

    how_many: int = Field(10, ge=1, le=MAX_ROWS, description="How many rows.")
    offset: int = Field(0, ge=0, le=MAX_ROWS, description="Rows to leave out before them.")

    @model_validator(mode="after")
    def _is_bounded(self) -> PageQuery:
        if self.how_many + self.offset > MAX_ROWS:
            message = f"how_many + offset must be at most {MAX_ROWS:,}"
            raise ValueError(message)
        return self


class FilteredQuery(PageQuery):
    """Which rows are wanted, and which may be among them."""

    rescorer_params: list[str] = Field(
        default_factory=list, description="Given to the rescorers as it is; may be repeated."
    )
    exclude: Ids = Field(
        default_factory=list, description="Ids that may not be in the reply; may be repeated."
    )


class RecommendQuery(FilteredQuery):
    """Which items to recommend."""

    consider_known_items: bool = Field(
        False, description="Whether items that the user knows may be recommended."
    )
    include: Ids = Field(
        default_factory=list,
        description="Ids of the only items that may be recommended, all if empty; may be repeated.",
    )


class EstimateQuery(QueryModel):
    """Which items to estimate."""

    items: Ids = Field(..., min_length=1, description="Ids of items; may be repeated.")


class RecommendBatch(BodyModel, RecommendQuery):
    """Users to recommend to, each for himself, and which items."""

    users: Annotated[list[Id], Field(min_length=1, max_length=MAX_USERS)] = Field(
        ..., description="Ids of users."
    )

    @model_validator(mode="after")
    def _is_small(self) -> RecommendBatch:
        if len(self.users) * (self.how_many + self.offset) > MAX_BATCH_ROWS:
            message = f"users times (how_many + offset) must be at most {MAX_BATCH_ROWS:,}"
            raise ValueError(message)
        return self


class DealtWith(BodyModel):
    """An item that somebody has dealt with."""

    id: Id
    strength: float = Field(1.0, description="How strongly.")


class Session(BodyModel, RecommendQuery):
    """Items that somebody has just dealt with, in order, and which items to recommend then."""

    items: Annotated[list[DealtWith], Field(min_length=1, max_length=MAX_IDS)] = Field(
        ..., description="They are not recommended."
    )
    user: Id | None = Field(None, description="Who it is; somebody unknown if absent.")


class ScoredItem(BaseModel):
    """An item and its score: inner product, cosine, or what a rescorer has made of them."""

    id: str
    score: float


class CountedItem(BaseModel):
    """An item and the number of users who know it."""

    id: str
    count: int


class Estimate(BaseModel):
    """An item and the estimated strength; null where the model does not hold the item."""

    id: str
    score: float | None


class Page(BaseModel):
    """Where a page lies in the whole result."""

    how_many: int = Field(description="Rows on this page.")
    offset: int = Field(description="Rows before it.")
    next_offset: int | None = Field(description="The next page's offset; null on the last page.")


class ScoredItems(BaseModel):
    """A page of items, the best first."""

    items: list[ScoredItem]
    page: Page


class CountedItems(BaseModel):
    """A page of items, the one that most users know first."""

    items: list[CountedItem]
    page: Page


class Estimates(BaseModel):
    """Estimated strengths, in the order of the request."""

    estimates: list[Estimate]


class KnownItems(BaseModel):
    """The items that a user knows, in no order."""

    items: list[str]


class UserError(BaseModel):
    """Why there is nothing for one user of a batch."""

    code: str
    detail: str


class UserResult(BaseModel):
    """One user's recommendations, the best first, or why there are none."""

    user: str
    items: list[ScoredItem] = Field(default_factory=list)
    error: UserError | None = None


class BatchResult(BaseModel):
    """One result for each user, in the order of the request."""

    results: list[UserResult]
    unknown_users: int = Field(description="Users that the model does not hold.")


class Event(BodyModel):
    """A user deals with an item."""

    user: EventId
    item: EventId
    strength: float | None = Field(1.0, description="How strongly; null takes it back.")
    timestamp: int | None = Field(
        None, ge=1, description="Milliseconds since 1970; when it is received if absent."
    )
