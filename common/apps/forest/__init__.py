"""Random forest: what all layers share."""

from common.apps.forest.settings import Lines, Settings

__all__ = ["Lines", "Settings"]
