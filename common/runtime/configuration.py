"""Loads the configuration: the settings class with all families' tables, and the sources' values.

Sources in order of precedence: flags (``--set batch.interval_seconds=60``), environment
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
        TOML file; only defaults if it is absent.
    flags : mapping, optional
        Dotted keys and their values, as strings or typed; they override all other sources.
    environment : mapping, optional
        Environment variables; those of the process by default.

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
    """Load the configuration as :func:`load` does, with the origins of its values.

    Returns
    -------
    (Settings, dict)
        The dict has the origin of each dotted key that is set: ``"flag"``,
        ``"environment variable …"`` or ``"file:line"``.  Keys not in it have their defaults.
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
    return settings, {".".join(value.path): value.origin for value in given}


def _validated(model: type[Settings], keys: Keys, given: list[sources.Given]) -> Settings:
    problems = list(unknown_keys(given, keys))
    known = [value for value in given if keys.longest(value.path) in keys.fields]
    # Every table is present, so that an error about a required key names the key's own path.
    tables: dict[str, Any] = {path[0]: {} for path in keys.sections if len(path) == 1}
    try:
        settings = model.model_validate(tables | sources.merge(known))
        if not problems:
            return settings
    except ValidationError as error:
        problems += refused_values(error, {value.path: value for value in given}, keys)
    raise ConfigError("\n".join(problems))


@functools.cache
def settings_type(app: str = "als") -> type[Settings]:
    """Return the settings class with a section for every family and for `app`.

    Raises
    ------
    ConfigError
        If `app` is neither a family nor an importable module.
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
    """Return the class ``Settings`` of a family's module; None if the family has no keys."""
    section = getattr(importlib.import_module(module), "Settings", None)
    # The module may import `common.config.Settings`, which has the same name.
    if section is None or section is Settings:
        return None
    if not (isinstance(section, type) and issubclass(section, Section)):
        message = f"app: {module}.Settings is not a subclass of common.config.Section"
        raise ConfigError(message)
    return section
