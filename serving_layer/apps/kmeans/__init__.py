"""K-means in the serving layer."""

from serving_layer.apps.kmeans.model import Serving
from serving_layer.apps.kmeans.resources import resources
from serving_layer.apps.kmeans.routes import blueprint, console

__all__ = ["Serving", "blueprint", "console", "resources"]
