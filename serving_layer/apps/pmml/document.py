"""A PMML document of another tool: checked, loaded, and its rows read by its own fields."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import orjson
from lxml import etree

from common.apps.pmml import Settings
from common.base.lines import LineError, parse_line
from common.pmml.documents import FOREIGN, parse, to_bytes
from serving_layer.apps.pmml.evaluator import Evaluator, SharedJava

Value = float | int | str | bool | None


class RowError(ValueError):
    """A row that the document has no use for; the text names the field."""


@dataclass(frozen=True)
class Field:
    """An input field, as the document's data dictionary declares it.

    Attributes
    ----------
    name : str
        Its name.
    type : str
        PMML's data type: ``double``, ``string`` and so on.
    kind : str
        PMML's operational type: ``continuous``, ``categorical`` or ``ordinal``.
    values : tuple of str
        The valid values, where the document lists them.
    closed : bool
        Whether the document gives no result for any other value.
    """

    name: str
    type: str
    kind: str
    values: tuple[str, ...]
    closed: bool

    def read(self, given: object) -> Value:
        """Return a value of the field's type; None, and an empty text, are missing.

        Raises
        ------
        RowError
            If it is of another type, or not valid.
        """
        if given is None or given == "":
            return None
        try:
            if isinstance(given, (list, dict)):
                raise TypeError
            value = _CONVERT.get(self.type, _text)(given)
        except (ValueError, TypeError, OverflowError):
            message = f"the field {self.name!r} is {self.type}, and cannot be {str(given)[:40]!r}"
            raise RowError(message) from None
        if self.closed and value not in self._valid:
            known = ", ".join(self.values[:20])
            message = f"the field {self.name!r} has no value {str(given)[:40]!r}; it has {known}"
            raise RowError(message)
        return value

    @cached_property
    def _valid(self) -> frozenset[Value]:
        return frozenset(_CONVERT.get(self.type, _text)(value) for value in self.values)


@dataclass(frozen=True)
class Document:
    """A document that can be scored.

    Attributes
    ----------
    text : str
        The document itself, as it came.
    inputs : tuple of Field
        In the order of a row.
    evaluator : Evaluator
        Scores it.
    """

    text: str
    inputs: tuple[Field, ...]
    evaluator: Evaluator

    @classmethod
    def load(cls, text: str, settings: Settings, java: SharedJava | None = None) -> Document:
        """Check a document and load it into `java`, that of all documents by default.

        Raises
        ------
        PmmlError
            If it is too large or too deep, has a document type declaration, or is no PMML.
        EvaluatorError
            If it cannot be scored, or Java does not start.
        """
        root = parse(text, settings.max_size, FOREIGN)
        # What was checked is what is loaded: another parser might read the text otherwise.
        evaluator = Evaluator(to_bytes(root).decode(), settings.heap, java)
        return cls(text, _fields(root, evaluator.inputs), evaluator)

    def row(self, given: object) -> list[Value]:
        """Read a row.

        Parameters
        ----------
        given : str, list or dict
            The inputs in order: a line, CSV or a JSON array, or its values.  Or the inputs by
            name, those that are missing left out: a JSON object, as text or read.

        Raises
        ------
        RowError
            If it is none of these, a field is unknown, there are too many or too few, or a
            value does not fit.
        """
        values = self._values(_parsed(given) if isinstance(given, str) else given)
        return [field.read(value) for field, value in zip(self.inputs, values, strict=True)]

    def score(self, rows: Sequence[Sequence[Value]]) -> list[list[Any]]:
        """Return the outputs of each row, in the order of ``evaluator.outputs``."""
        return self.evaluator.score([field.name for field in self.inputs], rows)

    def _values(self, given: object) -> Sequence[object]:
        if isinstance(given, dict):
            unknown = given.keys() - {field.name for field in self.inputs}
            if unknown:
                message = f"there is no field {min(unknown)!r}; the inputs are {self._names}"
                raise RowError(message)
            return [given.get(field.name) for field in self.inputs]
        if not isinstance(given, list):
            message = "a row is an array of values, or an object of them by field name"
            raise RowError(message)
        if len(given) != len(self.inputs):
            message = f"{len(given)} fields, not {len(self.inputs)}: {self._names}"
            raise RowError(message)
        return given

    @property
    def _names(self) -> str:
        return ", ".join(field.name for field in self.inputs)


def _parsed(line: str) -> object:
    try:
        return orjson.loads(line) if line.startswith("{") else parse_line(line)
    except (orjson.JSONDecodeError, LineError) as error:
        raise RowError(str(error)) from None


def _fields(root: etree._Element, names: Sequence[str]) -> tuple[Field, ...]:
    dictionary = {
        str(element.get("name")): element
        for element in root.findall("{*}DataDictionary/{*}DataField", None)
    }
    # The first mining schema is that of the outermost model.
    schema = root.find("{*}*/{*}MiningSchema", None)
    mining = {} if schema is None else {str(one.get("name")): one for one in schema}
    return tuple(_field(name, dictionary.get(name), mining.get(name)) for name in names)


def _field(name: str, declared: etree._Element | None, mining: etree._Element | None) -> Field:
    if declared is None:
        return Field(name, "string", "categorical", (), closed=False)
    values = tuple(
        str(one.get("value"))
        for one in declared.findall("{*}Value", None)
        if one.get("property", "valid") == "valid"
    )
    treatment = "returnInvalid" if mining is None else mining.get("invalidValueTreatment")
    kind = declared.get("optype", "categorical")
    closed = bool(values) and kind != "continuous" and treatment in (None, "returnInvalid")
    return Field(name, declared.get("dataType", "string"), kind, values, closed)


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _real(value: object) -> float:
    if isinstance(value, bool):
        raise TypeError
    text = str(value)
    number = float(text)
    # Python reads 1_000 too.
    if "_" in text or not math.isfinite(number):
        raise ValueError
    return number


def _integer(value: object) -> int:
    number = _real(value)
    if not number.is_integer():
        raise ValueError
    return int(number)


def _boolean(value: object) -> bool:
    return {"true": True, "1": True, "false": False, "0": False}[_text(value).lower()]


_CONVERT: Mapping[str, Callable[[object], Value]] = {
    "double": _real,
    "float": _real,
    "integer": _integer,
    "boolean": _boolean,
}
