"""Results as DataFrames; needs pandas."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from gemsbok_client.results import UserRecommendations


def recommendations_frame(results: Iterable[UserRecommendations]) -> pd.DataFrame:
    """Return one row for each recommendation; see ``Client.recommendations_frame``."""
    found = list(results)
    rows = [
        (result.user, rank, item.id, item.score)
        for result in found
        for rank, item in enumerate(result.items, 1)
    ]
    frame: pd.DataFrame = pd.DataFrame(rows, columns=["user", "rank", "item", "score"])
    frame.attrs["unknown_users"] = [result.user for result in found if result.error]
    return frame
