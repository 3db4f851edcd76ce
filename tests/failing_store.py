"""A model store that can fail."""

from __future__ import annotations

from common.store.generations import Generation, ModelStore


class FailingStore(ModelStore):
    """Raises `failure` at every question, as long as there is one."""

    failure: Exception | None = None

    def ids(self) -> list[int]:
        """Answer as any store does, or fail."""
        if self.failure is not None:
            raise self.failure
        return super().ids()

    def get(self, generation: int, manifest_sha256: str | None = None) -> Generation:
        """Answer as any store does, or fail."""
        if self.failure is not None:
            raise self.failure
        return super().get(generation, manifest_sha256)
