"""The tests of a tree's nodes in PMML: a number above a threshold, a category outside a set.

Both children of a node hold a test, each the other's opposite: where a value is missing both
are unknown, which is what sends an evaluator to the default child.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from lxml import etree
from numpy.typing import NDArray

from common.pmml.documents import PmmlError, join_pmml_delimited, parse_pmml_delimited, tag

#: Evaluators disagree on how an array escapes these; an attribute holds them as they are.
_NOT_IN_ARRAYS = ('"', "\\")


def write_threshold(node: etree._Element, field: str, threshold: float, above: bool) -> None:
    """Append the test whether a number is above a threshold, or else at most as large."""
    operator = "greaterThan" if above else "lessOrEqual"
    _simple(node, field, operator, repr(threshold))


def write_outside(
    node: etree._Element, field: str, categories: Sequence[str], outside: bool
) -> None:
    """Append the test whether a category is none of these, or else one of them."""
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
    """Return the number above which the test holds.

    Raises
    ------
    PmmlError
        If it is no such test.
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
    """Return for each category whether the test holds.

    Parameters
    ----------
    predicate : Element
        A test as :func:`write_outside` writes it.
    codes : mapping of str to int
        The field's categories.

    Raises
    ------
    PmmlError
        If it is no such test, or names a category that is not among `codes`.
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
    """Return the name of the field that a test looks at; empty if it names none."""
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
