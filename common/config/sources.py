"""Reading configuration values from flags, the environment and a TOML file."""

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
#: Environment variables with the prefix that are not configuration keys.
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
    """The configuration is wrong; the text names key, value, origin and how to correct it."""


@dataclass(frozen=True)
class Given:
    """A value read from one source.

    Attributes
    ----------
    path : tuple of str
        The key, one name for each level; not checked yet.
    value : object
        A TOML type; text from flags and the environment is converted by the key's type.
    origin : str
        Its source, in words.
    """

    path: KeyPath
    value: Any
    origin: str


def flag_pairs(texts: Iterable[str]) -> dict[str, str]:
    """Split command-line flags ``KEY=VALUE`` into a mapping.

    Raises
    ------
    ConfigError
        If a flag has no key or no equals sign.
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
    """Yield the values of flags: dotted keys, with values as text or typed."""
    for name, value in flags.items():
        yield from _named(tuple(name.split(".")), value, "flag", keys)


def from_environment(environment: Mapping[str, str], keys: Keys) -> Iterator[Given]:
    """Yield the values of variables such as ``GEMSBOK_BATCH__INTERVAL_SECONDS``."""
    for name, value in sorted(environment.items()):
        if name.startswith(ENV_PREFIX) and name not in ENV_RESERVED:
            path = tuple(name[len(ENV_PREFIX) :].lower().split("__"))
            yield from _named(path, value, f"environment variable {name}", keys)


def from_file(path: Path, text: str, table: Mapping[str, Any], keys: Keys) -> Iterator[Given]:
    """Yield the values of a TOML file, each with the origin ``file:line``."""
    lines = key_lines(text)
    for key, value in _leaves(table, (), keys):
        line = next((lines[key[:n]] for n in range(len(key), 0, -1) if key[:n] in lines), None)
        yield Given(key, value, f"{path}:{line}" if line else str(path))


def read_toml(path: Path) -> tuple[str, dict[str, Any]]:
    """Return the text of a TOML file and the table that it holds.

    Raises
    ------
    ConfigError
        If the file does not exist, cannot be read, or is not TOML.
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
    """Return one tree of tables; a later value of a key replaces an earlier one."""
    tree: dict[str, Any] = {}
    for value in given:
        table = tree
        for name in value.path[:-1]:
            if not isinstance(table.get(name), dict):
                table[name] = {}
            table = table[name]
        table[value.path[-1]] = value.value
    return tree


def key_lines(text: str) -> dict[KeyPath, int]:
    """Return the line number of each table and key of a TOML text, found by their form alone.

    Keys inside inline tables and multi-line values have no number of their own.
    """
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
    """Split a TOML key at its dots, except at dots inside quotes."""
    found = re.findall(r"""\s*(?:"([^"]*)"|'([^']*)'|([^."'\s]+))\s*""", dotted)
    return tuple(double or single or bare for double, single, bare in found)


def _named(path: KeyPath, value: Any, origin: str, keys: Keys) -> Iterator[Given]:
    """Yield the values of one flag or variable: of a key, a free table's entry, or a section."""
    known = keys.longest(path)
    field = keys.fields.get(known)
    if field is not None and entry_type(field) is not None and known != path:
        # The entry's name may contain dots: spark.sql.shuffle.partitions.
        path = (*known, ".".join(path[len(known) :]))
        kind = entry_type(field)
    else:
        kind = field.annotation if field is not None and known == path else Any
    value = typed(value, kind) if isinstance(value, str) else value
    inner = {path[-1]: value}
    for key, leaf in _leaves(inner, path[:-1], keys):
        yield Given(key, leaf, origin)


def typed(text: str, kind: Any) -> Any:
    """Convert the text of a flag or variable for a key of type `kind`.

    Text stays text if the key takes only text; otherwise it is read as a TOML value
    (``60``, ``true``, ``["a", "b"]``), and stays text if it is not one.  Empty text means
    "not set" if the key allows that.
    """
    if text == "" and takes_none(kind):
        return None
    if kind is not Any and takes_text_alone(kind):
        return text
    try:
        parsed = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    # A line break in the text could add further keys.
    return parsed["value"] if parsed.keys() == {"value"} else text


def _leaves(table: Mapping[str, Any], prefix: KeyPath, keys: Keys) -> Iterator[tuple[KeyPath, Any]]:
    """Yield key and value of each key below `prefix`; of a free table, each entry separately."""
    for name, value in table.items():
        path = (*prefix, name)
        field = keys.fields.get(path)
        if isinstance(value, dict) and path in keys.sections:
            yield from _leaves(value, path, keys)
        elif isinstance(value, dict) and field is not None and entry_type(field) is not None:
            for entry, content in _entries(value, field):
                yield (*path, entry), content
        else:
            yield path, value


def _entries(table: Mapping[str, Any], field: FieldInfo) -> Iterator[tuple[str, Any]]:
    """Yield the entries of a free table; nested tables of texts become dotted names (Spark's)."""
    for name, value in table.items():
        if entry_type(field) is not str:
            yield name, value
        elif isinstance(value, dict):
            for inner, content in _entries(value, field):
                yield f"{name}.{inner}", content
        elif isinstance(value, bool):
            yield name, str(value).lower()
        else:
            yield name, str(value) if isinstance(value, int | float) else value
