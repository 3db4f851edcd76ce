"""The random forest in the speed layer."""

from speed_layer.apps.forest.model import Speed

__all__ = ["Speed"]
