"""The random forest in memory, its leaves moved on by updates."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from common.apps.forest.payload import add_to_leaf, replace_leaf
from common.apps.forest.pmml import write_forest_pmml
from common.apps.forest.settings import encoding_of, read_model, schema_of
from common.wire.messages import MessageError
from serving_layer.api import ServingModel, apply_each
from serving_layer.apps.forest.view import ForestView

if TYPE_CHECKING:
    from collections.abc import Sequence

    from common.config import Settings
    from common.replica.updates import ModelMessage


class Serving(ServingModel):
    """The forest as it is now, its leaves moved on by updates."""

    fraction_loaded = 1.0

    def __init__(self, settings: Settings) -> None:
        self._schema = schema_of(settings)
        self._view: ForestView | None = None

    @property
    def view(self) -> ForestView:
        """What requests see; raises MessageError where no model has come yet."""
        if self._view is None:
            message = "there is no model yet"
            raise MessageError(message)
        return self._view

    def load(self, model: ModelMessage) -> None:
        """Take over a model in the place of the one before; raises MessageError."""
        found = read_model(model.text, self._schema)
        self._view = ForestView(found, encoding_of(found))

    def apply(self, update: str) -> None:
        """Give a leaf its new total; raises MessageError."""
        replace_leaf(self.view.model, update)

    def apply_many_foreign(self, updates: Sequence[str]) -> list[MessageError]:
        """Add changes to leaves; return what is wrong with those that cannot be read."""
        return apply_each(partial(add_to_leaf, self.view.model), updates)

    def to_pmml(self) -> bytes:
        """Return the forest with what its leaves have seen until now."""
        return write_forest_pmml(self.view.model)
