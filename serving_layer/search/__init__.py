"""Top-N by inner product or cosine, exact and approximate; import the names below from here."""

from __future__ import annotations

from serving_layer.search.approximate import ApproximateIndex, Approximation
from serving_layer.search.exact import ExactIndex
from serving_layer.search.live import LiveFactors, cosines, dots
from serving_layer.search.query import Query, Search, Top, search_allowed, top_of
from serving_layer.search.request_batcher import RequestBatcher

__all__ = [
    "ApproximateIndex",
    "Approximation",
    "ExactIndex",
    "LiveFactors",
    "Query",
    "RequestBatcher",
    "Search",
    "Top",
    "cosines",
    "dots",
    "search_allowed",
    "top_of",
]
