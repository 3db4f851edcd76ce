"""K-means in the speed layer."""

from speed_layer.apps.kmeans.model import Speed

__all__ = ["Speed"]
