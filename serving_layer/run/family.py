"""Loads the serving part of the configured family and adds the defaults of optional names."""

from __future__ import annotations

from common.config import Settings
from common.runtime.families import family_class, family_module
from serving_layer.api import ServingFamily, ServingModel, no_console, no_resources


def serving_family(settings: Settings) -> ServingFamily:
    """Return the serving part of the family that ``app`` names.

    Raises
    ------
    ConfigError
        If its module cannot be imported, has no ``Serving`` or no ``blueprint``, or ``Serving``
        is not a class or lacks a method.
    """
    module = family_module(settings.app, "serving_layer", ("Serving", "blueprint"))
    return ServingFamily(
        new_model=family_class(module, "Serving", ServingModel),
        blueprint=module.blueprint,
        console=getattr(module, "console", no_console),
        resources=getattr(module, "resources", no_resources),
    )
