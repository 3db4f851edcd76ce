"""Parses query string and JSON body of requests below ``/v1`` into pydantic models."""

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

#: Largest number of faults in a reply.
MAX_FAULTS = 20
JSON = "application/json"
#: Largest number of values in a JSON body: a value takes up to 40 times the memory of its text.
MAX_VALUES = 2_000_000


class BodyModel(BaseModel):
    """Base class of models of bodies: no unknown fields, no conversion, finite numbers."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class QueryModel(BaseModel):
    """Base class of models of query strings: each field has a description and a default."""

    model_config = ConfigDict(extra="forbid")


Q = TypeVar("Q", bound=QueryModel)
B = TypeVar("B", bound=BaseModel)
V = TypeVar("V")


def query(kind: type[Q]) -> Q:
    """Parse the query string.

    Raises
    ------
    InvalidError
        400 ``bad_parameter``, with the faults of all parameters.
    """
    values = query_values()
    lists = _lists(kind)
    parameters = {
        name: given if name in lists else _scalar(given) for name, given in values.items()
    }
    try:
        return kind.model_validate(parameters)
    except ValidationError as error:
        code = "bad_parameter"
        raise _invalid(code, error, _parameter_fault) from None


def body(kind: type[B]) -> B:
    """Parse the JSON body.

    Raises
    ------
    ApiError
        415 if it is not JSON; 400 ``bad_json``, or ``schema`` with the faults of all values; 413
        for too many values; the errors of ``body_bytes``.
    """
    require_json()
    return parsed(kind, body_bytes())


def require_json() -> None:
    """Raise ApiError 415 unless the Content-Type is JSON."""
    if request.mimetype != JSON:
        message = f"the Content-Type is {request.mimetype or 'missing'}; send {JSON}"
        raise ApiError(415, "unsupported_type", message)


def parsed(kind: type[B], data: bytes) -> B:
    """Parse JSON into a model; raises as :func:`body`."""
    # The number of commas is an upper bound of the values' number less one.
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


def _scalar(values: Sequence[str]) -> Any:
    # Several values stay a list, which no scalar field accepts.
    return values[0] if len(values) == 1 else list(values)


def _invalid(
    code: str, error: ValidationError, fault: Callable[[ErrorDetails], Fault]
) -> InvalidError:
    details = error.errors(include_url=False, include_context=False, include_input=False)
    faults = [fault(detail) for detail in details[:MAX_FAULTS]]
    where = faults[0].pointer or faults[0].parameter or "the parameters together"
    more = f", and {len(details) - 1} more" if len(details) > 1 else ""
    return InvalidError(code, f"{where}: {faults[0].detail}{more}", faults)


def _parameter_fault(detail: ErrorDetails) -> Fault:
    # Without a location, the fault is in the combination of parameters.
    name = str(detail["loc"][0]) if detail["loc"] else None
    return Fault(detail=detail["msg"], parameter=name)


def pointer(*parts: str | int) -> str:
    """Return the JSON Pointer to a value in the body, as a URI fragment (RFC 6901)."""
    escaped = (str(part).replace("~", "~0").replace("/", "~1") for part in parts)
    return "#" + "".join(f"/{quote(part, safe='')}" for part in escaped)


def numbered(
    values: Iterable[tuple[int, V]], line: Callable[[V], str]
) -> Iterator[tuple[int, str]]:
    """Yield each value's number and line; an ApiError of `line` gets the number."""
    for number, value in values:
        try:
            yield number, line(value)
        except ApiError as error:
            error.line = number
            raise


@contextmanager
def pointing(name: str) -> Iterator[None]:
    """Convert the line number of an ApiError into a JSON Pointer to the value of the line.

    Parameters
    ----------
    name : str
        Name of the body's list; each of its values is one line.
    """
    try:
        yield
    except ApiError as error:
        if error.line is None:
            raise
        place = pointer(name, error.line - 1)
        fault = Fault(detail=error.message, pointer=place)
        invalid = InvalidError(error.error_code, f"{place}: {error.message}", [fault])
        invalid.code = error.code
        raise invalid from None
