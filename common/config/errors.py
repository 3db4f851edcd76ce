"""Error messages for a wrong configuration, one line for each key."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from common.config.keys import KeyPath, Keys, allowed, entry_type, is_secret
from common.config.sources import ENV_PREFIX, Given

MAX_SHOWN = 80
#: Types of pydantic errors whose message our validators wrote.
_OWN_WORDS = ("value_error", "assertion_error")


def unknown_keys(given: Iterable[Given], keys: Keys) -> Iterator[str]:
    """Yield a line for each value whose key there is not, with the nearest key there is."""
    for one in given:
        if one.path in keys.sections:
            inside = ", ".join(names_in(keys, one.path))
            yield f"{_dotted(one)} ({one.origin}): is a table with the keys {inside}"
            continue
        field = keys.fields.get(one.path[:-1])
        is_entry = field is not None and entry_type(field) is not None
        if one.path not in keys.fields and not is_entry:
            hint = _hint(one, keys)
            yield f"{_dotted(one)} ({one.origin}): there is no such key{hint}"


def refused_values(
    error: ValidationError, given: Mapping[KeyPath, Given], keys: Keys
) -> Iterator[str]:
    """Yield a line for each key whose value pydantic refused."""
    seen = set()
    for detail in error.errors():
        path = keys.longest(detail["loc"])
        if path in seen:
            continue
        seen.add(path)
        entry = tuple(map(str, detail["loc"][: len(path) + 1]))
        source = given.get(entry) or given.get(path)
        yield f"{_shown_key(path, source, keys)}{_reason(detail, path, keys)}"


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the nearest known name; empty if none is near."""
    matches = difflib.get_close_matches(_snake(name), list(known), n=1)
    return f"; did you mean {matches[0]!r}?" if matches else ""


def names_in(keys: Keys, section: KeyPath) -> list[str]:
    """Return the names of the keys and tables directly in a section."""
    paths = [*keys.fields, *keys.sections]
    return [path[-1] for path in paths if path[:-1] == section]


def _dotted(one: Given) -> str:
    return ".".join(one.path)


def _hint(value: Given, keys: Keys) -> str:
    key = _near_in_section(value.path, keys) or _near_anywhere(value.path, keys)
    if key is not None:
        return f"; did you mean {_as_given(key, value)}?"
    return f"; known here: {', '.join(names_in(keys, keys.longest(value.path)))}"


def _near_in_section(path: KeyPath, keys: Keys) -> KeyPath | None:
    """Replace the first unknown name by a similar one of its section; keep the names after it."""
    section = keys.longest(path)
    wrong, rest = path[len(section)], path[len(section) + 1 :]
    near = difflib.get_close_matches(_snake(wrong), names_in(keys, section), n=1)
    if not near:
        return None
    key = (*section, near[0])
    return (*key, *rest) if (*key, *rest) in keys.fields else key


def _near_anywhere(path: KeyPath, keys: Keys) -> KeyPath | None:
    """Return a key of the same name in another section, or else a similar path."""
    known_paths = {".".join(known): known for known in (*keys.fields, *keys.sections)}
    for known in known_paths.values():
        if known[-1] == _snake(path[-1]):
            return known
    matches = difflib.get_close_matches(".".join(map(_snake, path)), known_paths, n=1)
    return known_paths[matches[0]] if matches else None


def _as_given(path: KeyPath, value: Given) -> str:
    if value.origin.startswith("environment"):
        return ENV_PREFIX + "__".join(path).upper()
    return ".".join(path)


def _snake(name: str) -> str:
    """Return a name in snake case; Oryx writes ``interval-seconds`` and ``logStrength``."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).replace("-", "_").lower()


def _shown_key(path: KeyPath, source: Given | None, keys: Keys) -> str:
    if source is None:
        return f"{'.'.join(path)}: " if path else ""
    field = keys.fields.get(path)
    value = "***" if field is not None and is_secret(field) else _shown(source.value)
    return f"{_dotted(source)} = {value} ({source.origin}): "


def _shown(value: Any) -> str:
    text = json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= MAX_SHOWN else text[:MAX_SHOWN] + "…"


def _reason(detail: Any, path: KeyPath, keys: Keys) -> str:
    if detail["type"] in _OWN_WORDS:
        return str(detail["ctx"]["error"])
    if path not in keys.fields:
        return str(detail["msg"])
    wanted = allowed(keys.fields[path])
    if detail["type"] == "missing":
        return f"must be set; allowed: {wanted}"
    return f"allowed: {wanted}"
