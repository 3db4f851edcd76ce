"""The rules of [input_schema] (Oryx's), seen through what a family asks of the schema."""

from __future__ import annotations

from typing import Any

import pytest

from common import config
from common.records.schema import InputSchema, SchemaError


def schema(**table: Any) -> InputSchema:
    return InputSchema.from_settings(config.InputSchema(**table))


def test_names_and_kinds_of_an_iris_like_table() -> None:
    made = schema(
        feature_names=["id", "length", "width", "note", "colour", "class"],
        id_features=["id"],
        ignored_features=["note"],
        numeric_features=["length", "width"],
        target_feature="class",
    )
    assert made.active == ("length", "width", "colour", "class")
    assert made.categorical == {"colour", "class"}
    assert made.predictors == ("length", "width", "colour")
    assert made.active_fields == (1, 2, 4, 5)
    assert made.is_classification


def test_numbered_features_and_a_numeric_target() -> None:
    made = schema(num_features=4, ignored_features=["0"], categorical_features=["2"])
    assert made.names == ("0", "1", "2", "3")
    assert made.numeric == {"1", "3"}
    assert (made.target, made.is_classification) == (None, False)
    regression = schema(num_features=2, categorical_features=[], target_feature="1")
    assert (regression.target, regression.is_classification) == ("1", False)


def test_numeric_wins_when_both_kinds_are_given() -> None:
    made = schema(feature_names=["a", "b"], numeric_features=["a"], categorical_features=["a"])
    assert made.numeric == {"a"}
    assert made.categorical == {"b"}


def test_an_empty_list_says_that_all_are_of_the_other_kind() -> None:
    assert schema(num_features=2, numeric_features=[]).categorical == {"0", "1"}
    assert schema(num_features=2, categorical_features=[]).numeric == {"0", "1"}


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({}, "set feature_names or num_features"),
        ({"feature_names": ["a", "b", "a"], "numeric_features": []}, "'a' more than once"),
        ({"feature_names": ["a"], "num_features": 3, "numeric_features": []}, "give one of the"),
        ({"num_features": 2}, "set numeric_features"),
        ({"num_features": 2, "id_features": ["x"], "numeric_features": []}, "id_features names"),
        (
            {"feature_names": ["width"], "ignored_features": ["widht"], "numeric_features": []},
            "did you mean 'width'",
        ),
        (
            {"num_features": 2, "id_features": ["0"], "numeric_features": ["0"]},
            "numeric_features names '0', which is not an active feature",
        ),
        (
            {"num_features": 2, "ignored_features": ["1"], "categorical_features": ["1"]},
            "categorical_features names '1'",
        ),
        (
            {
                "num_features": 2,
                "id_features": ["0"],
                "numeric_features": [],
                "target_feature": "0",
            },
            "target_feature names '0'",
        ),
        (
            {"num_features": 2, "numeric_features": [], "target_feature": "2"},
            "target_feature names '2'",
        ),
    ],
)
def test_what_contradicts_itself_is_refused(table: dict[str, Any], words: str) -> None:
    with pytest.raises(SchemaError, match="input_schema") as caught:
        schema(**table)
    assert words in str(caught.value)
