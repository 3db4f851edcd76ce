"""Loading the configuration: the tables of all families, and the values that sources give.

Sources, the first wins: flags (``--set batch.interval_seconds=60``), environment
(``GEMSBOK_BATCH__INTERVAL_SECONDS``), the TOML file, defaults.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, create_model

from common.config import sources
from common.config.errors import nearest, refused_values, unknown_keys
from common.config.keys import Keys
from common.config.settings import Section, Settings
from common.config.sources import ConfigError
from common.runtime.families import families, part_of


def load(
    path: Path | None = None,
    flags: Mapping[str, Any] | None = None,
    environment: Mapping[str, str] | None = None,
) -> Settings:
    """Load the configuration.

    Parameters
    ----------
    path : Path, optional
        TOML file; defaults alone without one.
    flags : mapping, optional
        Dotted keys and their values, as strings or typed; they win over everything.
    environment : mapping, optional
        Taken for the process's environment, which is the default.

    Raises
    ------
    ConfigError
        If a key is unknown, a value is refused, or the file cannot be read.
    """
    return load_with_origins(path, flags, environment)[0]


def load_with_origins(
    path: Path | None = None,
    flags: Mapping[str, Any] | None = None,
    environment: Mapping[str, str] | None = None,
) -> tuple[Settings, dict[str, str]]:
    """Load the configuration as :func:`load` does, and say where its values come from.

    Returns
    -------
    (Settings, dict)
        The dict has the origin of each dotted key that a source gave: ``"flag"``,
        ``"environment variable …"`` or ``"file:line"``; all others are defaults.
    """
    environment = os.environ if environment is None else environment
    text, table = sources.read_toml(path) if path else ("", {})
    flags = flags or {}
    app = flags.get("app") or environment.get(f"{sources.ENV_PREFIX}APP") or table.get("app", "als")
    model = settings_type(str(app))
    keys = Keys.of(model)
    given = [
        *(sources.from_file(path, text, table, keys) if path else ()),
        *sources.from_environment(environment, keys),
        *sources.from_flags(flags, keys),
    ]
    settings = _validated(model, keys, given)
    return settings, {".".join(one.path): one.origin for one in given}


def _validated(model: type[Settings], keys: Keys, given: list[sources.Given]) -> Settings:
    wrong = list(unknown_keys(given, keys))
    known = [one for one in given if keys.longest(one.path) in keys.fields]
    # Every table, so that a key that a family must have is missed at its own path.
    tables: dict[str, Any] = {path[0]: {} for path in keys.sections if len(path) == 1}
    try:
        settings = model.model_validate(tables | sources.merge(known))
        if not wrong:
            return settings
    except ValidationError as error:
        wrong += refused_values(error, {one.path: one for one in given}, keys)
    raise ConfigError("\n".join(wrong))


@functools.cache
def settings_type(app: str = "als") -> type[Settings]:
    """Return the settings class with a section for every family, and for `app`.

    Raises
    ------
    ConfigError
        If there is no family of this name and no module either.
    """
    fields: dict[str, Any] = {}
    for family in families():
        _add_section(fields, family, _family_section(f"common.apps.{family}"))
    if app not in families():
        _add_section(fields, app.rpartition(".")[2], _user_section(app))
    return create_model("FullSettings", __base__=Settings, **fields)


def _add_section(fields: dict[str, Any], name: str, section: type[Section] | None) -> None:
    if section is None:
        return
    if name in fields or name in Settings.model_fields:
        message = f"app: the section [{name}] of your module is taken; give the module another name"
        raise ConfigError(message)
    fields[name] = (section, Field(default_factory=section))


def _user_section(app: str) -> type[Section] | None:
    if "." not in app and importlib.util.find_spec(app) is None:
        message = (
            f"app: there is no family {app!r}{nearest(app, families())} "
            f"(families: {', '.join(families())}; or a module of your own)"
        )
        raise ConfigError(message)
    try:
        return _family_section(part_of(app, "common"))
    except ImportError as error:
        message = f"app: module {app!r} cannot be imported: {error}"
        raise ConfigError(message) from error


def _family_section(module: str) -> type[Section] | None:
    """Return the class ``Settings`` of a family's module; None where it has no keys."""
    found = getattr(importlib.import_module(module), "Settings", None)
    # The module may import the whole configuration's class of the same name.
    if found is None or found is Settings:
        return None
    if not (isinstance(found, type) and issubclass(found, Section)):
        message = f"app: {module}.Settings is not a subclass of common.config.Section"
        raise ConfigError(message)
    return found
