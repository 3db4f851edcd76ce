"""The query string's parameters: read by name, strictly, and none ignored in silence."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NoReturn, cast
from urllib.parse import parse_qsl

from flask import g, request

from serving_layer.http.describe import Parameter
from serving_layer.http.errors import ApiError

#: Oryx's rule: howMany + offset may not exceed this.
MAX_ROWS = 100_000

#: Descriptions of what :func:`paging` and :func:`rescorer_params` read.
PAGE = (
    Parameter(
        "howMany",
        f"How many rows; with `offset` at most {MAX_ROWS:,}.",
        {"type": "integer", "minimum": 1, "maximum": MAX_ROWS, "default": 10},
    ),
    Parameter(
        "offset",
        "Rows to leave out before them.",
        {"type": "integer", "minimum": 0, "maximum": MAX_ROWS, "default": 0},
    ),
)
RESCORER = Parameter(
    "rescorerParams",
    "Given to the rescorers as it is; may be repeated.",
    {"type": "array", "items": {"type": "string"}},
)


def switch(name: str, description: str) -> Parameter:
    """Describe a parameter that :func:`flag` reads."""
    return Parameter(name, description, {"type": "boolean", "default": False})


@dataclass(frozen=True, slots=True)
class Page:
    """Which rows of an ordered result are asked for: `how_many` after the first `skip`."""

    how_many: int
    skip: int

    @property
    def end(self) -> int:
        """How many rows have to be found."""
        return self.skip + self.how_many


@dataclass
class _Query:
    """The query string, and which of its names the route has read."""

    values: dict[str, list[str]]
    read: set[str] = field(default_factory=set)


def paging(how_many: int = 10) -> Page:
    """Read ``howMany`` and ``offset``.

    Raises
    ------
    ApiError
        400 ``bad_parameter`` unless howMany > 0, offset >= 0 and their sum <= 100,000
        (Oryx's rule).
    """
    page = Page(_integer("howMany", how_many), _integer("offset", 0))
    if page.how_many <= 0:
        _refuse("howMany", page.how_many, "an integer above 0")
    if page.skip < 0:
        _refuse("offset", page.skip, "an integer of at least 0")
    if page.end > MAX_ROWS:
        _refuse("howMany + offset", page.end, f"at most {MAX_ROWS:,}")
    return page


def flag(name: str, default: bool = False) -> bool:
    """Read a parameter that is ``true`` or ``false``.

    Raises
    ------
    ApiError
        400 ``bad_parameter`` if it is anything else.
    """
    text = _scalar(name)
    if text is None:
        return default
    if text.lower() not in ("true", "false"):
        _refuse(name, text, "true or false")
    return text.lower() == "true"


def rescorer_params() -> list[str]:
    """Read every ``rescorerParams``, in order; commas do not separate (Oryx's rule)."""
    return _values("rescorerParams")


def query_values() -> dict[str, list[str]]:
    """Return all parameters, each with its values in order; none counts as unknown then."""
    query = _query()
    query.read.update(query.values)
    return query.values


def finish_parameters() -> None:
    """Refuse parameters that the route has not read; called before a reply or a write.

    Raises
    ------
    ApiError
        400 ``bad_parameter``: a misspelt parameter would otherwise be ignored in silence.
    """
    query = _query()
    if unknown := sorted(query.values.keys() - query.read):
        known = ", ".join(sorted(query.read)) or "none"
        message = f"unknown parameter {unknown[0]!r}; this path takes: {known}"
        raise ApiError(400, "bad_parameter", message)


def _query() -> _Query:
    kept = g._get_current_object()
    if "query" not in kept:
        kept.query = _parse_query(request.environ.get("QUERY_STRING", ""))
    return cast("_Query", kept.query)


def _parse_query(text: str) -> _Query:
    values: dict[str, list[str]] = {}
    if text:
        try:
            pairs = parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=1000)
        except ValueError as error:
            message = f"the query string is not valid UTF-8, or too long: {error}"
            raise ApiError(400, "bad_encoding", message) from None
        for name, value in pairs:
            values.setdefault(name, []).append(value)
    return _Query(values)


def _values(name: str) -> list[str]:
    query = _query()
    query.read.add(name)
    return query.values.get(name, [])


def _scalar(name: str) -> str | None:
    values = _values(name)
    if len(values) > 1:
        message = f"{name} is given {len(values)} times; give it once"
        raise ApiError(400, "bad_parameter", message)
    return values[0] if values else None


def _integer(name: str, default: int) -> int:
    text = _scalar(name)
    if text is None:
        return default
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 18):
        _refuse(name, text, "an integer")
    return int(text)


def _refuse(name: str, given: object, wanted: str) -> NoReturn:
    message = f"{name} is {repr(given)[:100]}; it must be {wanted}"
    raise ApiError(400, "bad_parameter", message)
