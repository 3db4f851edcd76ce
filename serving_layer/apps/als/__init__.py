"""ALS in the serving layer."""

from serving_layer.apps.als.model import Serving
from serving_layer.apps.als.resources import resources
from serving_layer.apps.als.routes import blueprint, console

__all__ = ["Serving", "blueprint", "console", "resources"]
