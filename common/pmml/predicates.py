"""Writes and reads PMML's predicates of tree nodes: thresholds and sets of categories.

The two children of a node have opposite predicates.  If the value is missing, both are
unknown, and an evaluator takes the default child.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from lxml import etree
from numpy.typing import NDArray

from common.pmml.documents import PmmlError, join_pmml_delimited, parse_pmml_delimited, tag

#: Evaluators disagree on how an array escapes these characters; attributes need no escape.
_NOT_IN_ARRAYS = ('"', "\\")


def write_threshold(node: etree._Element, field: str, threshold: float, above: bool) -> None:
    """Append the predicate field > threshold, or field ≤ threshold if not `above`."""
    operator = "greaterThan" if above else "lessOrEqual"
    _simple(node, field, operator, repr(threshold))


def write_outside(
    node: etree._Element, field: str, categories: Sequence[str], outside: bool
) -> None:
    """Append the predicate field ∉ categories, or field ∈ categories if not `outside`."""
    plain = [c for c in categories if not any(character in c for character in _NOT_IN_ARRAYS)]
    others = [c for c in categories if c not in plain]
    if len(others) + bool(plain) > 1:
        node = etree.SubElement(node, tag("CompoundPredicate"))
        node.set("booleanOperator", "and" if outside else "or")
    if plain:
        listed = etree.SubElement(node, tag("SimpleSetPredicate"), field=field)
        listed.set("booleanOperator", "isNotIn" if outside else "isIn")
        array = etree.SubElement(listed, tag("Array"), n=str(len(plain)), type="string")
        array.text = join_pmml_delimited(plain)
    for category in others:
        _simple(node, field, "notEqual" if outside else "equal", category)


def read_threshold(predicate: etree._Element) -> float:
    """Return the threshold t of a predicate field > t.

    Raises
    ------
    PmmlError
        If the predicate is not of this form.
    """
    operator, text = predicate.get("operator"), predicate.get("value", "")
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if math.isfinite(value) and operator == "greaterThan":
        return value
    if math.isfinite(value) and operator == "greaterOrEqual":
        return math.nextafter(value, -math.inf)
    message = (
        f"a test of {predicate.get('field')!r} is {operator} {text[:40]!r}; "
        "greaterThan or greaterOrEqual a finite number is read"
    )
    raise PmmlError(message)


def read_members(predicate: etree._Element, codes: Mapping[str, int]) -> NDArray[np.bool_]:
    """Return for each category whether the predicate holds.

    Parameters
    ----------
    predicate : Element
        A predicate of the form that :func:`write_outside` writes.
    codes : mapping of str to int
        The code of each of the field's categories.

    Raises
    ------
    PmmlError
        If the predicate is not of this form, or names a category that is not in `codes`.
    """
    kind, operator = etree.QName(predicate).localname, _operator(predicate)
    if kind == "CompoundPredicate" and operator in ("and", "or"):
        parts = [read_members(part, codes) for part in predicate]
        combined: NDArray[np.bool_] = np.full(len(codes), operator == "and")
        for part in parts:
            combined = combined & part if operator == "and" else combined | part
        return combined
    if kind == "SimpleSetPredicate" and operator in ("isIn", "isNotIn"):
        listed = parse_pmml_delimited(predicate.findtext("{*}Array", "", None))
    elif kind == "SimplePredicate" and operator in ("equal", "notEqual"):
        listed = [predicate.get("value", "")]
    else:
        message = f"a test of categories is a {kind} with the operator {operator!r}"
        raise PmmlError(message)
    chosen = _mask(predicate.get("field"), listed, codes)
    return chosen if operator in ("isIn", "equal") else ~chosen


def field_of(predicate: etree._Element) -> str:
    """Return the name of the field that a predicate tests; empty if it names none."""
    while etree.QName(predicate).localname == "CompoundPredicate" and len(predicate):
        predicate = predicate[0]
    return predicate.get("field", "")


def _simple(node: etree._Element, field: str, operator: str, value: str) -> None:
    predicate = etree.SubElement(node, tag("SimplePredicate"), field=field)
    predicate.set("operator", operator)
    predicate.set("value", value)


def _operator(predicate: etree._Element) -> str | None:
    return predicate.get("booleanOperator", predicate.get("operator"))


def _mask(field: str | None, listed: Sequence[str], codes: Mapping[str, int]) -> NDArray[np.bool_]:
    unknown = [value for value in listed if value not in codes]
    if unknown:
        message = f"a test of {field!r} names {unknown[0]!r}, which the dictionary does not list"
        raise PmmlError(message)
    chosen = np.zeros(len(codes), np.bool_)
    chosen[[codes[value] for value in listed]] = True
    return chosen
