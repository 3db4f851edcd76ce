"""Finds model families by name: those of the platform, and modules of a user."""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
from types import ModuleType
from typing import TYPE_CHECKING, cast

from common.config.sources import ConfigError

if TYPE_CHECKING:
    from common.api import InputLines
    from common.config import Settings


def families() -> list[str]:
    """Return the names of the platform's families: the modules and packages in `common.apps`."""
    apps = importlib.import_module("common.apps")
    return sorted(module.name for module in pkgutil.iter_modules(apps.__path__))


def family_module(app: str, package: str, names: tuple[str, ...]) -> ModuleType:
    """Import a family's part in one layer, or in ``common``.

    The module is ``<package>.apps.<app>``.  For a user's family it is ``<app>.common``,
    ``<app>.batch``, ``<app>.speed`` or ``<app>.serving`` if there is such a module, else `app`.

    Raises
    ------
    ConfigError
        If the module cannot be imported or lacks one of `names`.
    """
    layer = package.removesuffix("_layer")
    if layer != package and not has_layer(app, layer):
        message = f'app = "{app}" has no {layer} layer: it is for serving alone'
        raise ConfigError(message)
    name = f"{package}.apps.{app}" if app in families() else app
    try:
        if app not in families():
            name = part_of(app, layer)
        module = importlib.import_module(name)
    except ImportError as error:
        message = f"app: module {name!r} cannot be imported: {error}"
        raise ConfigError(message) from error
    absent = [attribute for attribute in names if not hasattr(module, attribute)]
    if absent:
        message = f"app: module {name!r} lacks {', '.join(absent)}; see docs/architecture.md"
        raise ConfigError(message)
    return module


def part_of(app: str, layer: str) -> str:
    """Return the name of the module with a user's family's part for one layer.

    Raises
    ------
    ImportError
        If there is no module `app`.
    """
    inner = f"{app}.{layer}"
    is_package = hasattr(importlib.import_module(app), "__path__")
    return inner if is_package and importlib.util.find_spec(inner) is not None else app


def has_layer(app: str, layer: str) -> bool:
    """Whether a family has a part in ``batch``, ``speed`` or ``serving``.

    A user's family has a part in every layer; a platform's family may be for serving only.
    """
    name = f"{layer}_layer.apps.{app}"
    return app not in families() or importlib.util.find_spec(name) is not None


def input_lines(settings: Settings) -> InputLines:
    """Return the family's rules for input lines.

    Raises
    ------
    ConfigError
        If the family's module cannot be imported or has no ``Lines``, or the settings contradict
        one another.
    """
    module = family_module(settings.app, "common", ("Lines",))
    return cast("InputLines", module.Lines(settings))
