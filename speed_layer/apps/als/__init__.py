"""ALS in the speed layer."""

from speed_layer.apps.als.model import Speed

__all__ = ["Speed"]
