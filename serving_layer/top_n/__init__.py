"""Top-N: the rows of a factor matrix with the largest inner product or cosine with a query."""

from __future__ import annotations

from serving_layer.top_n.exact import ExactIndex
from serving_layer.top_n.gather import Gatherer
from serving_layer.top_n.live import LiveFactors, cosines, dots
from serving_layer.top_n.query import Query, Top, search_allowed, top_of

__all__ = [
    "ExactIndex",
    "Gatherer",
    "LiveFactors",
    "Query",
    "Top",
    "cosines",
    "dots",
    "search_allowed",
    "top_of",
]
