"""Finds model families by name: those of the platform, and modules of a user."""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING, Any

from common.api import InputLines
from common.config.sources import ConfigError

if TYPE_CHECKING:
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


def family_class(module: ModuleType, name: str, role: type[Any]) -> Callable[[Settings], Any]:
    """Return a family's class; one that derives from its role has the defaults for what it omits.

    Parameters
    ----------
    module : module
        The family's part in a layer, or in ``common``.
    name : str
        What the class is called there.
    role : type
        The protocol that the layer owns.

    Raises
    ------
    ConfigError
        If it is not a class, or lacks a method; the text names all that it lacks.
    """
    kind = getattr(module, name)
    if not isinstance(kind, type):
        message = f"app: {name} must be a class; see docs/architecture.md"
        raise ConfigError(message)
    methods = {part for part, what in vars(role).items() if callable(what) and part[0] != "_"}
    unwritten: frozenset[str] = getattr(kind, "__abstractmethods__", frozenset())
    absent = methods.difference(dir(kind)) | unwritten
    if absent:
        message = (
            f"app: {module.__name__}.{name} lacks {', '.join(sorted(absent))}; "
            f"derive from {role.__module__}.{role.__name__}, which says what each is for"
        )
        raise ConfigError(message)
    return kind


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
        If its module cannot be imported or has none, the class lacks a method, or the settings
        contradict themselves.
    """
    module = family_module(settings.app, "common", ("Lines",))
    lines: InputLines = family_class(module, "Lines", InputLines)(settings)
    return lines
