"""The keys of the configuration and their allowed values, read from the settings' fields."""

from __future__ import annotations

import math
import types
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

KeyPath = tuple[str, ...]

_NAMES = {
    bool: "true or false",
    int: "integer",
    float: "number",
    str: "text",
    Path: "path",
    SecretStr: "text (secret)",
}


_LIMITS = {
    "ge": "≥",
    "gt": ">",
    "le": "≤",
    "lt": "<",
    "min_length": "at least",
    "max_length": "at most",
}

#: How far from a bound that is excluded the nearest number is that makes sense.
JUST_BESIDE = 1e-12


@dataclass(frozen=True)
class Form:
    """Metadata of an annotated type: a description of its values, for messages and reference."""

    text: str


@dataclass(frozen=True)
class Keys:
    """The keys of a configuration class.

    Attributes
    ----------
    fields : mapping of key path to FieldInfo
        Every key that holds a value, in the order of declaration.
    sections : mapping of key path to str
        Every table of keys, with its description.
    """

    fields: Mapping[KeyPath, FieldInfo]
    sections: Mapping[KeyPath, str]

    @classmethod
    def of(cls, model: type[BaseModel]) -> Keys:
        """Collect the keys of `model`."""
        fields: dict[KeyPath, FieldInfo] = {}
        sections: dict[KeyPath, str] = {}
        for path, field in _walk(model, ()):
            section = section_type(field)
            if section is None:
                fields[path] = field
            else:
                sections[path] = (section.__doc__ or "").strip().partition("\n")[0]
        return cls(fields, sections)

    def longest(self, path: tuple[object, ...]) -> KeyPath:
        """Return the longest prefix of `path` that is a key or a section; may be empty."""
        for length in range(len(path), 0, -1):
            start = tuple(map(str, path[:length]))
            if start in self.fields or start in self.sections:
                return start
        return ()


def _walk(model: type[BaseModel], prefix: KeyPath) -> Iterator[tuple[KeyPath, FieldInfo]]:
    for name, field in model.model_fields.items():
        path = (*prefix, field.alias or name)
        yield path, field
        section = section_type(field)
        if section is not None:
            yield from _walk(section, path)


def section_type(field: FieldInfo) -> type[BaseModel] | None:
    """Return the class of the table that `field` holds; None if it holds a value."""
    kind = field.annotation
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def entry_type(field: FieldInfo) -> Any:
    """Return the type of the entries of a free table (``dict[str, X]``), or None."""
    if get_origin(field.annotation) is dict:
        return get_args(field.annotation)[1]
    return None


def is_secret(field: FieldInfo) -> bool:
    """Whether the field's value must not be shown."""
    return SecretStr in members(field.annotation)


def takes_none(kind: Any) -> bool:
    """Whether a value of type `kind` may be absent."""
    return type(None) in members(kind)


def takes_text_alone(kind: Any) -> bool:
    """Whether every value of type `kind` is text, so that ``42`` means ``"42"``."""
    return all(_is_text(member) for member in members(kind) if member is not type(None))


def _is_text(kind: Any) -> bool:
    if get_origin(kind) is Literal:
        return all(isinstance(value, str) for value in get_args(kind))
    return kind in (str, Path, SecretStr)


def members(kind: Any) -> list[Any]:
    """Return the members of a union, without annotations; for any other type, the type itself."""
    if get_origin(kind) is Annotated:
        return members(get_args(kind)[0])
    if get_origin(kind) in (Union, types.UnionType):
        return [member for part in get_args(kind) for member in members(part)]
    return [kind]


def allowed(field: FieldInfo) -> str:
    """Return a description of the field's allowed values, such as ``"integer 1 to 65535"``."""
    for note in field.metadata:
        if isinstance(note, Form):
            return note.text
    name, limits = _name(field.annotation), _limits(field.metadata)
    return f"{name} {limits}" if limits else name


def number_limits(field: FieldInfo) -> tuple[float, float]:
    """Return the least and the greatest number that the field takes; infinite where any may.

    Of a union, such as a number or a list of them, the first member with limits counts.  A bound
    that is itself excluded (``gt``, ``lt``) is taken `JUST_BESIDE` further in.
    """
    typed = [kind for kind in get_args(field.annotation) if get_origin(kind) is Annotated]
    for notes in (field.metadata, *(get_args(kind)[1:] for kind in typed)):
        found = _found_limits(notes)
        if found:
            least = found.get("ge", found.get("gt", -math.inf) + JUST_BESIDE)
            return least, found.get("le", found.get("lt", math.inf) - JUST_BESIDE)
    return -math.inf, math.inf


def _name(kind: Any) -> str:
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        notes = [note.text for note in arguments[1:] if isinstance(note, Form)]
        limits = _limits(arguments[1:])
        return notes[0] if notes else " ".join(filter(None, [_name(arguments[0]), limits]))
    if origin is Literal:
        return "one of " + ", ".join(map(str, arguments))
    if origin in (Union, types.UnionType):
        return " or ".join(_name(part) for part in arguments if part is not type(None))
    if origin in (list, tuple, set, frozenset):
        return f"list of {_name(arguments[0])}"
    if origin is dict:
        return f"table of {_name(arguments[1])}"
    return _NAMES.get(kind, getattr(kind, "__name__", str(kind)))


def _found_limits(notes: Iterable[Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for note in notes:
        # The limits of an annotated type are in the metadata of its own Field.
        for limit in note.metadata if isinstance(note, FieldInfo) else [note]:
            found |= {name: getattr(limit, name) for name in _LIMITS if hasattr(limit, name)}
    return found


def _limits(notes: Iterable[Any]) -> str:
    found = _found_limits(notes)
    if "ge" in found and "le" in found:
        return f"{found['ge']} to {found['le']}"
    return " and ".join(f"{_LIMITS[name]} {limit}" for name, limit in found.items())
