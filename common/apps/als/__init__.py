"""Recommendation by alternating least squares: what all layers share."""

from common.apps.als.settings import Lines, Settings

__all__ = ["Lines", "Settings"]
