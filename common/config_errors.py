"""What is wrong with a configuration, one line for each key."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from common.config_fields import KeyPath, Keys, allowed, entry_type, is_secret
from common.config_sources import ENV_PREFIX, Given

MAX_SHOWN = 80
#: Errors of validators that carry their own sentence.
_OWN_WORDS = ("value_error", "assertion_error")


def unknown_keys(given: Iterable[Given], keys: Keys) -> Iterator[str]:
    """Yield a line for each value whose key there is not, with the nearest key there is."""
    for one in given:
        if one.path in keys.sections:
            inside = ", ".join(names_in(keys, one.path))
            yield f"{_dotted(one)} ({one.origin}): is a table with the keys {inside}"
        elif not _is_known(one.path, keys):
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
    """Return ``"; did you mean 'x'?"`` for the nearest known name, or nothing."""
    found = difflib.get_close_matches(_snake(name), list(known), n=1, cutoff=0.6)
    return f"; did you mean {found[0]!r}?" if found else ""


def names_in(keys: Keys, section: KeyPath) -> list[str]:
    """Return the names of the keys and tables directly in a section."""
    paths = [*keys.fields, *keys.sections]
    return [path[-1] for path in paths if path[:-1] == section]


def _is_known(path: KeyPath, keys: Keys) -> bool:
    field = keys.fields.get(path[:-1])
    return path in keys.fields or (field is not None and entry_type(field) is not None)


def _dotted(one: Given) -> str:
    return ".".join(one.path)


def _hint(one: Given, keys: Keys) -> str:
    """Look for the nearest key: in its section, then by its name anywhere, then as a whole."""
    section = keys.longest(one.path)
    wrong = one.path[len(section)] if len(one.path) > len(section) else one.path[-1]
    rest = one.path[len(section) + 1 :]
    near = difflib.get_close_matches(_snake(wrong), names_in(keys, section), n=1, cutoff=0.6)
    paths = [*keys.fields, *keys.sections]
    if near:
        found: KeyPath | None = (*section, near[0], *rest)
        if found not in paths:
            found = (*section, near[0])
    else:
        last = _snake(one.path[-1])
        found = next((path for path in paths if path[-1] == last), None)
        whole = {".".join(path): path for path in paths}
        dotted = ".".join(map(_snake, one.path))
        close = difflib.get_close_matches(dotted, whole, n=1, cutoff=0.6)
        found = found or (whole[close[0]] if close else None)
    if found is None:
        return f"; known here: {', '.join(names_in(keys, section))}"
    return f"; did you mean {_as_given(found, one)}?"


def _as_given(path: KeyPath, one: Given) -> str:
    if one.origin.startswith("environment"):
        return ENV_PREFIX + "__".join(path).upper()
    return ".".join(path)


def _snake(name: str) -> str:
    """Write a name as our keys are: Oryx has ``interval-seconds`` and ``logStrength``."""
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
