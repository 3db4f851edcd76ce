"""Converts results to DataFrames; needs pandas."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from gemsbok_client.results import UserRecommendations


def recommendations_frame(results: Iterable[UserRecommendations]) -> pd.DataFrame:
    """Return one row for each recommendation; see ``Client.recommendations_frame``."""
    all_results = list(results)
    rows = [
        (result.user, rank, item.id, item.score)
        for result in all_results
        for rank, item in enumerate(result.items, 1)
    ]
    frame: pd.DataFrame = pd.DataFrame(rows, columns=["user", "rank", "item", "score"])
    frame.attrs["unknown_users"] = [result.user for result in all_results if result.error]
    return frame
