"""Loads the serving part of the configured family and adds the defaults of optional names."""

from __future__ import annotations

from common.config import ConfigError, Settings
from common.runtime.families import family_module
from serving_layer.api import ServingFamily, ServingModel, no_console, no_resources

#: Methods that a class ``Serving`` may lack.
OPTIONAL = ("apply_many", "to_pmml")


def serving_family(settings: Settings) -> ServingFamily:
    """Return the serving part of the family that ``app`` names.

    Raises
    ------
    ConfigError
        If its module cannot be imported or lacks ``Serving`` or ``blueprint``, or ``Serving`` is
        not a class.
    """
    module = family_module(settings.app, "serving_layer", ("Serving", "blueprint"))
    return ServingFamily(
        new_model=_complete(module.Serving),
        blueprint=module.blueprint,
        console=getattr(module, "console", no_console),
        resources=getattr(module, "resources", no_resources),
    )


def _complete(kind: object) -> type[ServingModel]:
    """Return a family's class, with the methods of :class:`ServingModel` that it lacks.

    The result is the class itself if it lacks none of them, and a subclass otherwise.
    """
    if not isinstance(kind, type):
        message = "app: Serving must be a class; see docs/architecture.md"
        raise ConfigError(message)
    defaults = {
        name: getattr(ServingModel, name) for name in OPTIONAL if getattr(kind, name, None) is None
    }
    if not defaults:
        return kind
    namespace = {"__module__": kind.__module__, "__doc__": kind.__doc__, **defaults}
    return type(kind)(kind.__name__, (kind,), namespace)
