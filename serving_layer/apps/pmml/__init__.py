"""Documents of other tools in the serving layer."""

from serving_layer.apps.pmml.model import Serving
from serving_layer.apps.pmml.resources import resources
from serving_layer.apps.pmml.routes import blueprint, console

__all__ = ["Serving", "blueprint", "console", "resources"]
