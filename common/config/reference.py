"""Generates the reference of the configuration's keys from the settings' fields."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator
from typing import Any

from pydantic.fields import FieldInfo

from common.config.keys import KeyPath, Keys, allowed
from common.config.settings import Settings

_HEAD = """\
# Every key of the configuration: its meaning, the values it takes, and its default.
#
# Written by `gemsbok config reference`; do not edit. For a configuration of your own, copy
# the tables and keys that you change, without the leading "#", into a new file.
#
# A value is looked for in this order: the flag `--set batch.interval_seconds=60`, the
# environment variable GEMSBOK_BATCH__INTERVAL_SECONDS, the file, the default.
"""


def reference_toml(model: type[Settings]) -> str:
    """Return a TOML file with every key as a comment: meaning, allowed values, default.

    Parameters
    ----------
    model : type
        Settings class, as :func:`common.runtime.configuration.settings_type` makes it.
    """
    keys = Keys.of(model)
    parts = [_HEAD, *_keys_of_section(keys, ())]
    for section, title in keys.sections.items():
        parts.append(f"\n# {title}\n[{'.'.join(section)}]\n")
        parts += _keys_of_section(keys, section)
    return "\n".join(parts)


def reference_markdown(model: type[Settings]) -> str:
    """Return the content of :func:`reference_toml` as Markdown tables."""
    keys = Keys.of(model)
    parts = [_table(keys, ())]
    for section, title in keys.sections.items():
        if table := _table(keys, section):
            parts.append(f"### `[{'.'.join(section)}]`\n\n{title}\n\n{table}")
    return "\n".join(parts)


def toml_value(value: Any) -> str:
    """Return a value in TOML's notation.

    >>> toml_value(["a", 1, True])
    '["a", 1, true]'
    """
    if isinstance(value, dict):
        inside = ", ".join(f"{_quoted(name)} = {toml_value(one)}" for name, one in value.items())
        return f"{{ {inside} }}" if inside else "{}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(toml_value, value))}]"
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    return _quoted(str(value))


def _quoted(text: str) -> str:
    """Quote text as JSON does; also escape DEL, which JSON allows and TOML does not."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007F")


def _keys_of_section(keys: Keys, section: KeyPath) -> Iterator[str]:
    for path, field in keys.fields.items():
        if path[:-1] == section:
            about = textwrap.wrap(field.description or "", 94)
            about += textwrap.wrap(f"({allowed(field)}{_absence(field)})", 94)
            lines = [f"# {line}" for line in about]
            yield "\n".join([*lines, f"#{path[-1]} = {_default(field)}".rstrip(), ""])


def _absence(field: FieldInfo) -> str:
    if field.is_required():
        return "; must be set"
    return "; not set by default" if _default(field) == "" else ""


def _default(field: FieldInfo) -> str:
    """Return the default in TOML's notation; empty if there is none."""
    if field.is_required():
        return ""
    value = field.get_default(call_default_factory=True, validated_data={})
    return "" if value is None else toml_value(value)


def _table(keys: Keys, section: KeyPath) -> str:
    rows = [
        f"| `{path[-1]}` | {_cell(field.description or '')} | {_cell(allowed(field))} | "
        f"{f'`{_default(field)}`' if _default(field) else 'not set'} |\n"
        for path, field in keys.fields.items()
        if path[:-1] == section
    ]
    head = "| Key | Meaning | Values | Default |\n|---|---|---|---|\n"
    return head + "".join(rows) if rows else ""


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
