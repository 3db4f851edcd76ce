"""K-means in the batch layer."""

from batch_layer.apps.kmeans.update import Batch

__all__ = ["Batch"]
