"""Writes and reads the data dictionary and the mining schema of PMML documents.

The order of a categorical field's values in the dictionary is its encoding (Oryx's rule): the
first value is category 0.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from lxml import etree

from common.pmml.documents import PmmlError, tag
from common.records.schema import InputSchema

#: How an evaluator treats a value that the dictionary does not list.
InvalidValues = Literal["returnInvalid", "asIs", "asMissing"]

_TARGETS = ("predicted", "target")


@dataclass(frozen=True)
class Fields:
    """The fields of a document.

    Attributes
    ----------
    schema : InputSchema
        Names and kinds, in order.  PMML does not distinguish ids from ignored features: in a
        document that is read, both are ignored.
    categories : mapping of str to sequence of str
        For each active categorical feature its values, in the order of their encoding.
    importances : mapping of str to float
        Importances of predictors; a predictor that is not in it is written without one.
    invalid_values : {"returnInvalid", "asIs", "asMissing"}
        How an evaluator treats an unlisted value of a predictor; written but not read.
    """

    schema: InputSchema
    categories: Mapping[str, Sequence[str]] = field(default_factory=dict)
    importances: Mapping[str, float] = field(default_factory=dict)
    invalid_values: InvalidValues = "returnInvalid"


def write_data_dictionary(root: etree._Element, fields: Fields) -> None:
    """Fill the data dictionary of a new document; ids and ignored features are strings."""
    dictionary = root.find(tag("DataDictionary"), None)
    assert dictionary is not None
    dictionary.set("numberOfFields", str(len(fields.schema.names)))
    for name in fields.schema.names:
        numeric = name in fields.schema.numeric
        kind = ("continuous", "double") if numeric else ("categorical", "string")
        element = etree.SubElement(dictionary, tag("DataField"), name=name)
        element.set("optype", kind[0])
        element.set("dataType", kind[1])
        for value in fields.categories.get(name, ()):
            etree.SubElement(element, tag("Value"), value=value)


def write_mining_schema(model: etree._Element, fields: Fields) -> None:
    """Append a mining schema to a model element: every field with its usage (Oryx's rule)."""
    schema = fields.schema
    written = etree.SubElement(model, tag("MiningSchema"))
    for name in schema.names:
        element = etree.SubElement(written, tag("MiningField"), name=name)
        if name in schema.predictors:
            element.set("usageType", "active")
            if name in fields.importances:
                element.set("importance", repr(float(fields.importances[name])))
            if fields.invalid_values != "returnInvalid":
                element.set("invalidValueTreatment", fields.invalid_values)
        else:
            element.set("usageType", "predicted" if name == schema.target else "supplementary")


def read_fields(root: etree._Element, model: etree._Element) -> Fields:
    """Read the dictionary of a document and the mining schema of one of its models.

    Raises
    ------
    PmmlError
        If a field or a category is listed twice, a field is missing from one of the two or has
        an unknown optype, or there are several targets.
    """
    dictionary = _by_name(root, "DataDictionary/{*}DataField")
    mining = _by_name(model, "MiningSchema/{*}MiningField")
    if dictionary.keys() != mining.keys():
        name = next(iter(dictionary.keys() ^ mining.keys()))
        place = "data dictionary" if name in dictionary else "mining schema"
        message = f"PMML names the field {name!r} in its {place} alone"
        raise PmmlError(message)
    usage = {name: element.get("usageType", "active") for name, element in mining.items()}
    targets = [name for name, use in usage.items() if use in _TARGETS]
    if len(targets) > 1:
        message = f"PMML has several targets: {', '.join(targets)}; one is read"
        raise PmmlError(message)
    active = [name for name in dictionary if usage[name] in ("active", *_TARGETS)]
    numeric = frozenset(name for name in active if _is_numeric(name, dictionary[name]))
    schema = InputSchema(
        names=tuple(dictionary),
        ids=frozenset(),
        ignored=frozenset(dictionary) - frozenset(active),
        numeric=numeric,
        categorical=frozenset(active) - numeric,
        target=targets[0] if targets else None,
    )
    categories = {name: _values(name, dictionary[name]) for name in active if name not in numeric}
    return Fields(schema, categories, _importances(mining))


def require_schema(read: InputSchema, configured: InputSchema) -> None:
    """Compare a document's schema with the configured one.

    Raises
    ------
    PmmlError
        If a name, a kind or the target differs; the text names the first difference.
    """
    for property, theirs, ours in _compared(read, configured):
        if theirs != ours:
            message = (
                f"the model's {property} {theirs}, but [input_schema] says {ours}; configure the "
                "schema that the model was built with, or build a model with this one"
            )
            raise PmmlError(message)


def _compared(read: InputSchema, configured: InputSchema) -> Iterator[tuple[str, str, str]]:
    yield "number of features is", str(len(read.names)), str(len(configured.names))
    for number, (theirs, ours) in enumerate(zip(read.names, configured.names, strict=True)):
        yield f"feature {number} is", repr(theirs), repr(ours)
    for name in configured.names:
        yield f"feature {name!r} is", _kind(name, read), _kind(name, configured)
    yield "target is", repr(read.target), repr(configured.target)


def _kind(name: str, schema: InputSchema) -> str:
    if name in schema.numeric:
        return "numeric"
    return "categorical" if name in schema.categorical else "an id or ignored"


def _by_name(parent: etree._Element, path: str) -> dict[str, etree._Element]:
    elements: dict[str, etree._Element] = {}
    for element in parent.findall(f"{{*}}{path}", None):
        name = element.get("name")
        if name is None or name in elements:
            message = f"PMML has a {etree.QName(element).localname} " + (
                "without a name" if name is None else f"{name!r} twice"
            )
            raise PmmlError(message)
        elements[name] = element
    return elements


def _is_numeric(name: str, element: etree._Element) -> bool:
    optype = element.get("optype")
    if optype not in ("continuous", "categorical", "ordinal"):
        message = f"PMML does not say what the field {name!r} is: its optype is {optype!r}"
        raise PmmlError(message)
    return optype == "continuous"


def _values(name: str, element: etree._Element) -> tuple[str, ...]:
    values = [
        value.get("value", "")
        for value in element.findall("{*}Value", None)
        if value.get("property", "valid") == "valid"
    ]
    if len(set(values)) < len(values):
        doubled = next(value for value in values if values.count(value) > 1)
        message = f"PMML lists the value {doubled!r} of the field {name!r} twice"
        raise PmmlError(message)
    return tuple(values)


def _importances(mining: Mapping[str, etree._Element]) -> dict[str, float]:
    importances: dict[str, float] = {}
    for name, element in mining.items():
        text = element.get("importance")
        if text is None:
            continue
        try:
            importances[name] = float(text)
        except ValueError:
            message = f"PMML gives the field {name!r} an importance that is no number: {text!r}"
            raise PmmlError(message) from None
    return importances
