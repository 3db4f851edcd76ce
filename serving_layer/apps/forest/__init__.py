"""The random forest in the serving layer."""

from serving_layer.apps.forest.model import Serving
from serving_layer.apps.forest.resources import resources
from serving_layer.apps.forest.routes import blueprint, console

__all__ = ["Serving", "blueprint", "console", "resources"]
