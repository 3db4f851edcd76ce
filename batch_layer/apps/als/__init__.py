"""ALS in the batch layer."""

from batch_layer.apps.als.update import Batch

__all__ = ["Batch"]
