"""The random forest in the batch layer."""

from batch_layer.apps.forest.update import Batch

__all__ = ["Batch"]
