"""A request under ``/v1`` read into its pydantic model, which also describes it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, TypeVar
from urllib.parse import quote

from flask import request
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from serving_layer.http.errors import ApiError
from serving_layer.http.parameters import query_values
from serving_layer.http.problem import Fault, InvalidError
from serving_layer.request.bodies import body_bytes

#: Faults that one reply lists; a body of a million wrong events is not answered with as many.
MAX_FAULTS = 20
JSON = "application/json"
#: Values of one JSON body: a value takes up to 40 times the memory of its text.
MAX_VALUES = 2_000_000


class BodyModel(BaseModel):
    """What a body's model extends: no other fields, no conversion, finite numbers."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class QueryModel(BaseModel):
    """What a query string's model extends: every field has a description and a default."""

    model_config = ConfigDict(extra="forbid")


Q = TypeVar("Q", bound=QueryModel)
B = TypeVar("B", bound=BaseModel)
V = TypeVar("V")


def query(kind: type[Q]) -> Q:
    """Read the query string.

    Raises
    ------
    InvalidError
        400 ``bad_parameter``, with each parameter at fault.
    """
    values = query_values()
    lists = _lists(kind)
    once = {name: given if name in lists else _scalar(given) for name, given in values.items()}
    try:
        return kind.model_validate(once)
    except ValidationError as error:
        code = "bad_parameter"
        raise _invalid(code, error, _parameter_fault) from None


def body(kind: type[B]) -> B:
    """Read the JSON body.

    Raises
    ------
    ApiError
        415 unless it is JSON; 400 ``bad_json``, or ``schema`` with each value at fault; 413 for
        too many values; what ``body_bytes`` raises.
    """
    require_json()
    return parsed(kind, body_bytes())


def require_json() -> None:
    """Raise 415 unless the body is JSON by its Content-Type."""
    if request.mimetype != JSON:
        message = f"the Content-Type is {request.mimetype or 'missing'}; send {JSON}"
        raise ApiError(415, "unsupported_type", message)


def parsed(kind: type[B], data: bytes) -> B:
    """Read JSON as a model; raises as :func:`body` does."""
    # Each comma parts two values, unless it is part of a text.
    if data.count(b",") >= MAX_VALUES:
        message = f"the body holds more than {MAX_VALUES:,} values; send fewer at once"
        raise ApiError(413, "body_too_large", message)
    try:
        return kind.model_validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        if first["type"] == "json_invalid":
            raise ApiError(400, "bad_json", first["msg"]) from None
        code = "schema"
        raise _invalid(
            code, error, lambda found: Fault(detail=found["msg"], pointer=pointer(*found["loc"]))
        ) from None


@lru_cache
def _lists(kind: type[BaseModel]) -> frozenset[str]:
    """Return the names of the parameters that may be repeated."""
    properties = kind.model_json_schema()["properties"].items()
    return frozenset(name for name, schema in properties if schema.get("type") == "array")


def _scalar(given: Sequence[str]) -> Any:
    # Several values of one parameter stay a list, which no scalar field takes.
    return given[0] if len(given) == 1 else list(given)


def _invalid(
    code: str, error: ValidationError, fault: Callable[[ErrorDetails], Fault]
) -> InvalidError:
    found = error.errors(include_url=False, include_context=False, include_input=False)
    faults = [fault(detail) for detail in found[:MAX_FAULTS]]
    where = faults[0].pointer or faults[0].parameter or "the parameters together"
    more = f", and {len(found) - 1} more" if len(found) > 1 else ""
    return InvalidError(code, f"{where}: {faults[0].detail}{more}", faults)


def _parameter_fault(detail: ErrorDetails) -> Fault:
    # Nowhere: it is wrong what several of them are together.
    name = str(detail["loc"][0]) if detail["loc"] else None
    return Fault(detail=detail["msg"], parameter=name)


def pointer(*parts: str | int) -> str:
    """Return the JSON Pointer to a value in the body, as a URI fragment (RFC 6901)."""
    escaped = (str(part).replace("~", "~0").replace("/", "~1") for part in parts)
    return "#" + "".join(f"/{quote(part, safe='')}" for part in escaped)


def numbered(
    values: Iterable[tuple[int, V]], line: Callable[[V], str]
) -> Iterator[tuple[int, str]]:
    """Yield the line of each value with the value's number, which an error gets too."""
    for at, value in values:
        try:
            yield at, line(value)
        except ApiError as error:
            error.line = at
            raise


@contextmanager
def pointing(name: str) -> Iterator[None]:
    """Turn the number of a line in an error into a pointer to the value that the line stands for.

    Parameters
    ----------
    name : str
        The body's list, of which each value makes one line.
    """
    try:
        yield
    except ApiError as error:
        if error.line is None:
            raise
        at = pointer(name, error.line - 1)
        fault = Fault(detail=error.message, pointer=at)
        invalid = InvalidError(error.error_code, f"{at}: {error.message}", [fault])
        invalid.code = error.code
        raise invalid from None
