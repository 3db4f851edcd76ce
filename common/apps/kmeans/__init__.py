"""K-means clustering: what all layers share."""

from common.apps.kmeans.settings import Lines, Settings

__all__ = ["Lines", "Settings"]
