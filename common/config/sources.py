"""Where configuration values come from: flags, the environment, a TOML file."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo

from common.config.keys import KeyPath, Keys, entry_type, takes_none, takes_text_alone

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ENV_PREFIX = "GEMSBOK_"
#: Environment variables of the starters; they are no configuration keys.
ENV_RESERVED = {
    "GEMSBOK_HOME",
    "GEMSBOK_PYTHON",
    "GEMSBOK_MAVEN_MIRROR",
    "GEMSBOK_INSTALL_LOCK",
    "GEMSBOK_CONF",
    "GEMSBOK_TOKEN",
    "GEMSBOK_FAILPOINT",
}


class ConfigError(ValueError):
    """The configuration is wrong; the text names key, value, origin and remedy."""


@dataclass(frozen=True)
class Given:
    """One value that a source gives.

    Attributes
    ----------
    path : tuple of str
        The key, one name for each level; it may be unknown.
    value : object
        As TOML types; text from flags and environment is converted by the key's type.
    origin : str
        Where it was given, in words.
    """

    path: KeyPath
    value: Any
    origin: str


def flag_pairs(texts: Iterable[str]) -> dict[str, str]:
    """Split flags ``KEY=VALUE``, as command lines give them, for :func:`common.config.load`.

    Raises
    ------
    ConfigError
        If one has no key or no equals sign.
    """
    pairs = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not (key.strip() and equals):
            message = f"--set {text}: is not KEY=VALUE, as --set batch.interval_seconds=60"
            raise ConfigError(message)
        pairs[key.strip()] = value
    return pairs


def from_flags(flags: Mapping[str, Any], keys: Keys) -> Iterator[Given]:
    """Yield what flags give: dotted keys, values as text or typed."""
    for name, value in flags.items():
        yield from _named(tuple(name.split(".")), value, "flag", keys)


def from_environment(environment: Mapping[str, str], keys: Keys) -> Iterator[Given]:
    """Yield what variables such as ``GEMSBOK_BATCH__INTERVAL_SECONDS`` give."""
    for name, value in sorted(environment.items()):
        if name.startswith(ENV_PREFIX) and name not in ENV_RESERVED:
            path = tuple(name[len(ENV_PREFIX) :].lower().split("__"))
            yield from _named(path, value, f"environment variable {name}", keys)


def from_file(path: Path, text: str, table: Mapping[str, Any], keys: Keys) -> Iterator[Given]:
    """Yield what a TOML file gives; each origin is ``file:line``."""
    lines = key_lines(text)
    for key, value in _leaves(table, (), keys):
        line = next((lines[key[:n]] for n in range(len(key), 0, -1) if key[:n] in lines), None)
        yield Given(key, value, f"{path}:{line}" if line else str(path))


def read_toml(path: Path) -> tuple[str, dict[str, Any]]:
    """Read a TOML file: its text and its table.

    Raises
    ------
    ConfigError
        If it is not there, cannot be read, or is not TOML.
    """
    try:
        text = path.read_text(encoding="utf-8")
        return text, tomllib.loads(text)
    except FileNotFoundError:
        message = f"{path}: there is no such file; name one with --conf (examples lie in conf/)"
        raise ConfigError(message) from None
    except OSError as error:
        message = f"{path}: cannot be read: {error.strerror}"
        raise ConfigError(message) from error
    except UnicodeDecodeError as error:
        message = f"{path}: is not UTF-8: {error}"
        raise ConfigError(message) from error
    except tomllib.TOMLDecodeError as error:
        message = f"{path}: is not TOML: {error}"
        raise ConfigError(message) from error


def merge(given: Iterable[Given]) -> dict[str, Any]:
    """Make one tree of tables; of two values for a key the later one counts."""
    tree: dict[str, Any] = {}
    for one in given:
        table = tree
        for name in one.path[:-1]:
            if not isinstance(table.get(name), dict):
                table[name] = {}
            table = table[name]
        table[one.path[-1]] = one.value
    return tree


def key_lines(text: str) -> dict[KeyPath, int]:
    """Return the line number of each table and key of a TOML text, as far as is cheap to see."""
    lines: dict[KeyPath, int] = {}
    table: KeyPath = ()
    for number, line in enumerate(text.splitlines(), start=1):
        if header := re.match(r"\s*\[([^\[\]]+)\]", line):
            table = _parts(header[1])
            lines.setdefault(table, number)
        elif key := re.match(r"""\s*([\w.\-"' ]+?)\s*=""", line):
            lines.setdefault((*table, *_parts(key[1])), number)
    return lines


def _parts(dotted: str) -> KeyPath:
    """Split a TOML key at its dots, except those between quotes."""
    found = re.findall(r"""\s*(?:"([^"]*)"|'([^']*)'|([^."'\s]+))\s*""", dotted)
    return tuple(double or single or bare for double, single, bare in found)


def _named(path: KeyPath, value: Any, origin: str, keys: Keys) -> Iterator[Given]:
    """Yield what one flag or variable gives: a key, an entry of a free table, or a section."""
    known = keys.longest(path)
    field = keys.fields.get(known)
    if field is not None and entry_type(field) is not None and known != path:
        # Names of entries have dots of their own: spark.sql.shuffle.partitions.
        path = (*known, ".".join(path[len(known) :]))
        kind = entry_type(field)
    else:
        kind = field.annotation if field is not None and known == path else Any
    value = typed(value, kind) if isinstance(value, str) else value
    inner = {path[-1]: value}
    for key, one in _leaves(inner, path[:-1], keys):
        yield Given(key, one, origin)


def typed(text: str, kind: Any) -> Any:
    """Convert the text of a flag or variable for a key of type `kind`.

    Text stays text where the key takes nothing else; otherwise it is read as a TOML value
    (``60``, ``true``, ``["a", "b"]``), and stays text if it is none.  Empty text means
    "not set" where the key allows that.
    """
    if text == "" and takes_none(kind):
        return None
    if kind is not Any and takes_text_alone(kind):
        return text
    try:
        found = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    # A line break in the text could smuggle in further keys.
    return found["value"] if found.keys() == {"value"} else text


def _leaves(table: Mapping[str, Any], prefix: KeyPath, keys: Keys) -> Iterator[tuple[KeyPath, Any]]:
    """Yield the keys of a table of tables, and each entry of a free table by itself."""
    for name, value in table.items():
        path = (*prefix, name)
        field = keys.fields.get(path)
        if isinstance(value, dict) and path in keys.sections:
            yield from _leaves(value, path, keys)
        elif isinstance(value, dict) and field is not None and entry_type(field) is not None:
            for entry, one in _entries(value, field):
                yield (*path, entry), one
        else:
            yield path, value


def _entries(table: Mapping[str, Any], field: FieldInfo) -> Iterator[tuple[str, Any]]:
    """Yield the entries of a free table; of one of texts with dotted names, as Spark has them."""
    for name, value in table.items():
        if entry_type(field) is not str:
            yield name, value
        elif isinstance(value, dict):
            for inner, one in _entries(value, field):
                yield f"{name}.{inner}", one
        elif isinstance(value, bool):
            yield name, str(value).lower()
        else:
            yield name, str(value) if isinstance(value, int | float) else value
