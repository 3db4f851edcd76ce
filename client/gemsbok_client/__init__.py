"""Python client of Gemsbok's serving layer; import the names below from here."""

from gemsbok_client.client import Client
from gemsbok_client.errors import (
    ApiError,
    ClientError,
    IngestError,
    UnreachableError,
    UnsendableError,
)
from gemsbok_client.options import ClientOptions, PageOptions, RecommendOptions
from gemsbok_client.results import (
    Assignment,
    CountedItem,
    Estimate,
    Event,
    Prediction,
    Readiness,
    ScoredItem,
    UserRecommendations,
)
from gemsbok_client.retry import Retry
from gemsbok_client.version import VERSION as __version__

__all__ = [
    "ApiError",
    "Assignment",
    "Client",
    "ClientError",
    "ClientOptions",
    "CountedItem",
    "Estimate",
    "Event",
    "IngestError",
    "PageOptions",
    "Prediction",
    "Readiness",
    "RecommendOptions",
    "Retry",
    "ScoredItem",
    "UnreachableError",
    "UnsendableError",
    "UserRecommendations",
    "__version__",
]
