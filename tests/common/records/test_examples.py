import math
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.base.lines import LineError, join_line
from common.base.numeric_text import MAX_NUMBER, read_number, read_numbers
from common.records.columns import parse
from common.records.encoding import Encoding
from common.records.examples import MAX_CATEGORY_BYTES, parse_datum
from common.records.schema import InputSchema

SCHEMA = InputSchema(
    names=("id", "size", "colour", "weight", "kind"),
    ids=frozenset({"id"}),
    ignored=frozenset(),
    numeric=frozenset({"size", "weight"}),
    categorical=frozenset({"colour", "kind"}),
    target="kind",
)
CATEGORY = (
    f"bad_category: the feature 'colour' has more than {MAX_CATEGORY_BYTES} bytes "
    "or a control character"
)


def column(*lines: str | None) -> pa.StringArray:
    return pa.array(lines, pa.string())


def test_lines_become_columns_of_the_active_features() -> None:
    examples, reasons = parse(
        column("7,1.5,red,-2e3,a", '["8", 2, null, 0, "b"]', '9,,"x,y", 3 ,'), SCHEMA
    )
    assert reasons.null_count == 3
    assert examples.to_pydict() == {
        "size": [1.5, 2.0, None],
        "colour": ["red", None, "x,y"],
        "weight": [-2000.0, 0.0, 3.0],
        "kind": ["a", "b", None],
    }


def test_ignored_features_are_dropped() -> None:
    schema = InputSchema(tuple("0123"), frozenset(), frozenset("02"), frozenset("13"), frozenset())
    examples, reasons = parse(column("1,2,0,-3.5"), schema)
    assert reasons.null_count == 1
    assert Encoding({}).encode(examples, schema.predictors)[0].tolist() == [[2.0, -3.5]]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("7,1,red,2", "4 fields, not 5"),
        ("7,1,red,2,a,b", "6 fields, not 5"),
        ("7,one,red,2,a", "not_a_number: the feature 'size' is not a finite number: 'one'"),
        ("7,nan,red,2,a", "not_a_number: the feature 'size' is not a finite number: 'nan'"),
        ("7,1,red,inf,a", "not_a_number: the feature 'weight' is not a finite number: 'inf'"),
        ("7,1,red,1e39,a", "not_a_number: the feature 'weight' is not a finite number: '1e39'"),
        ("7,1,red,1_0,a", "not_a_number: the feature 'weight' is not a finite number: '1_0'"),
        ("7,1,red,٣,a", "not_a_number: the feature 'weight' is not a finite number: '٣'"),
        ("7,1,red,,a", "missing_value: the feature 'weight' has no value"),
        ("7,1,red,2,", "missing_value: the feature 'kind' has no value"),
        (
            f"7,1,{'x' * 1025},2,a",
            CATEGORY,
        ),
        (
            "7,1,\x00,2,a",
            CATEGORY,
        ),
        ('7,1,red,2,"a', "the quote at character 11 is not closed"),
    ],
)
def test_a_refused_line_says_why_in_bulk_and_alone(line: str, reason: str) -> None:
    required = {"weight", "kind"}
    good = "1,1,red,1,a"
    reasons = parse(column(good, line, good), SCHEMA, required).reasons
    assert reasons.to_pylist() == [None, reason, None]
    with pytest.raises(LineError) as caught:
        parse_datum(line, SCHEMA, required)
    assert str(caught.value) == reason


def test_a_null_and_no_lines_at_all() -> None:
    assert parse(column(None), SCHEMA).reasons.to_pylist() == ["no value"]
    assert parse(column(), SCHEMA).reasons.to_pylist() == []


field = st.one_of(
    st.floats().map(str),
    st.integers(-1000, 1000).map(str),
    st.sampled_from(["", " 1", "+1", "1.", ".5", "-", "1e5", "1e400", "0x1", "infinity", "a b"]),
    st.text(max_size=4),
)


@given(st.lists(st.lists(field, min_size=5, max_size=5), min_size=1, max_size=8))
def test_one_line_is_read_as_many_are(rows: list[list[str]]) -> None:
    lines = [join_line(row) for row in rows]
    examples, reasons = parse(column(*lines), SCHEMA, {"size"})
    for line, example, reason in zip(lines, examples.to_pylist(), reasons.to_pylist(), strict=True):
        if reason is None:
            assert parse_datum(line, SCHEMA, {"size"}) == example
        else:
            with pytest.raises(LineError) as caught:
                parse_datum(line, SCHEMA, {"size"})
            assert str(caught.value) == reason


@pytest.mark.parametrize("text", ["3.4e38", "-3.4e38", "1e-400", "+1.5", " 2\t", "5.", ".5E+1"])
def test_numbers(text: str) -> None:
    assert read_number(text) == read_numbers(column(text))[0] == float(text)
    assert read_number(text) <= MAX_NUMBER


def encoding() -> Encoding:
    examples = parse(column("1,1,red,1,b", "2,2,blue,2,a", "3,3,,3,b"), SCHEMA)[0]
    return Encoding.learnt([examples, examples], SCHEMA)


def test_categories_are_learnt_in_sorted_order() -> None:
    assert encoding() == Encoding({"colour": ("blue", "red"), "kind": ("a", "b")})


def test_examples_are_encoded_in_bulk_and_alone() -> None:
    lines = ["1,1.5,red,1,b", "2,,green,2,", "3,3,,3,a"]
    examples = parse(column(*lines), SCHEMA)[0]
    matrix, n_unseen = encoding().encode(examples, SCHEMA.active)
    nan = math.nan
    expected = [[1.5, 1.0, 1.0, 1.0], [nan, nan, 2.0, nan], [3.0, nan, 3.0, 0.0]]
    assert str(matrix.tolist()) == str(expected)
    assert n_unseen == 1
    rows: list[Any] = [
        encoding().encode_datum(parse_datum(line, SCHEMA), SCHEMA.active) for line in lines
    ]
    assert str([row for row, _ in rows]) == str(expected)
    assert [n for _, n in rows] == [0, 1, 0]
