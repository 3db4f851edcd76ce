"""Tests of a tree's nodes, written and read back."""

from __future__ import annotations

import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from lxml import etree

from common.pmml.documents import PmmlError, tag
from common.pmml.predicates import (
    field_of,
    read_members,
    read_threshold,
    write_outside,
    write_threshold,
)

#: What an input line's category may be: see `common.records.examples`.
CATEGORY = st.text(
    st.characters(exclude_categories=("Cc", "Cs"), exclude_characters="\ufffe\uffff"), min_size=1
)


def written(categories: list[str], outside: bool) -> etree._Element:
    node = etree.Element(tag("Node"))
    write_outside(node, "colour", categories, outside)
    [predicate] = etree.fromstring(etree.tostring(node))
    return predicate


@given(
    st.lists(CATEGORY, min_size=1, max_size=8, unique=True).flatmap(
        lambda all_: st.tuples(st.just(all_), st.sets(st.sampled_from(all_), min_size=1))
    ),
    st.booleans(),
)
@example((['a "b"', "a\\b", "a b", "c", "\u00a0", '"'], {'a "b"', "a\\b", "c"}), True)
@example((['"', "\\"], {'"', "\\"}), False)
def test_any_categories_come_back(found: tuple[list[str], set[str]], outside: bool) -> None:
    every, listed = found
    codes = {category: code for code, category in enumerate(every)}
    predicate = written([category for category in every if category in listed], outside)
    members = read_members(predicate, codes)
    assert members.tolist() == [(category in listed) != outside for category in every]
    assert field_of(predicate) == "colour"


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_threshold_comes_back_exactly(threshold: float) -> None:
    node = etree.Element(tag("Node"))
    write_threshold(node, "size", threshold, above=True)
    assert read_threshold(node[0]) == threshold
    node[0].set("operator", "greaterOrEqual")
    assert read_threshold(node[0]) == math.nextafter(threshold, -math.inf)


@pytest.mark.parametrize("value", ["", "nan", "inf", "much"])
def test_a_threshold_that_is_no_number_is_refused(value: str) -> None:
    predicate = etree.Element(
        tag("SimplePredicate"), field="size", operator="greaterThan", value=value
    )
    with pytest.raises(PmmlError, match="'size' is greaterThan"):
        read_threshold(predicate)


def test_a_category_that_is_not_listed_is_refused() -> None:
    with pytest.raises(PmmlError, match="'colour' names 'red'"):
        read_members(written(["blue", "red"], outside=True), {"blue": 0})


def test_a_test_of_another_kind_is_refused() -> None:
    predicate = etree.Element(tag("CompoundPredicate"), booleanOperator="surrogate")
    with pytest.raises(PmmlError, match="CompoundPredicate with the operator 'surrogate'"):
        read_members(predicate, {})
    assert field_of(predicate) == ""
