"""``python -m speed_layer --conf FILE``: runs the speed layer until it is told to stop."""

from __future__ import annotations
