"""What stands for another object in all but what a subclass defines."""

from __future__ import annotations

from typing import Any


class StandIn:
    """Hands on what it has not itself."""

    def __init__(self, other: Any) -> None:
        self.other = other

    def __getattr__(self, name: str) -> Any:
        return getattr(self.other, name)
