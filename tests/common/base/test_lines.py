import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.base.lines import LineError, join_line, parse_line
from common.records.line_columns import plain_columns, split_columns

TOKENS = st.lists(st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from('",\\[]\r\n')))


@pytest.mark.parametrize(
    ("line", "tokens"),
    [
        ("a,1,foo,", ["a", "1", "foo", ""]),
        ("", [""]),
        ("[]", []),
        ('["a",1,2.50,null,true]', ["a", "1", "2.50", "", "true"]),
        ("[123456789012345678901]", ["123456789012345678901"]),
        ('"a,b","c ""d"""', ["a,b", 'c "d"']),
        (r"a\,b,c\\d", ["a,b", r"c\d"]),
        (r'"a\"b",c', ['a"b', "c"]),
        ('a"b,c', ['a"b', "c"]),
        ("a,[b]", ["a", "[b]"]),
        ("[a,b", ["[a", "b"]),
        ('"a\nb",c\r\n', ["a\nb", "c"]),
    ],
)
def test_parse_line(line: str, tokens: list[str]) -> None:
    assert parse_line(line) == tokens


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("[1,]", "not a JSON array"),
        ("[NaN]", "NaN is not JSON"),
        ("[[1]]", "holds an array"),
        ('[{"a":1}]', "holds an object"),
        ('["\\ud800"]', "surrogates not allowed"),
        ("[" * 5000 + "]", "not a JSON array"),
        ('a,"b', "quote at character 3 is not closed"),
        ('"a"b,c', "text after a closing quote at character 4"),
        ("a\\", "backslash with nothing after it at character 2"),
        ("a\nb", "line break outside quotes at character 2"),
    ],
)
def test_parse_line_says_what_is_wrong(line: str, what: str) -> None:
    with pytest.raises(LineError, match=what):
        parse_line(line)


@given(TOKENS)
def test_lines_round_trip(tokens: list[str]) -> None:
    assert parse_line(join_line(tokens)) == tokens


def test_split_columns_keeps_rows_aligned() -> None:
    lines = pa.array(["u,i,1", None, '"u,2",j', "[1,2,3,4,5]", "x", "[1,]", 'y,"', "z,k,,9"])
    columns, reasons = split_columns(lines, 2, 4)
    assert [column.to_pylist() for column in columns] == [
        ["u", None, "u,2", None, None, None, None, "z"],
        ["i", None, "j", None, None, None, None, "k"],
        ["1", None, None, None, None, None, None, ""],
        [None, None, None, None, None, None, None, "9"],
    ]
    assert reasons.is_null().to_pylist() == [True, False, True, *[False] * 4, True]
    assert reasons[1].as_py() == "no value"
    assert reasons[3].as_py() == "5 fields, not 2 to 4"
    assert reasons[4].as_py() == "1 fields, not 2 to 4"
    assert "JSON" in reasons[5].as_py()
    assert "not closed" in reasons[6].as_py()


def parsed_or_reason(line: str) -> tuple[list[str], str | None]:
    try:
        return parse_line(line), None
    except LineError as error:
        return [], str(error)


@given(st.lists(TOKENS.map(join_line) | st.text(st.characters(exclude_categories=["Cs"]))))
def test_split_columns_agrees_with_parse_line(lines: list[str]) -> None:
    columns, reasons = split_columns(pa.array(lines, pa.string()), 1, 3)
    assert len(reasons) == len(lines)
    for row, line in enumerate(lines):
        tokens, reason = parsed_or_reason(line)
        if reason:
            assert reasons[row].as_py() == reason
        good = 1 <= len(tokens) <= 3
        expected = (tokens + [None] * 3)[:3] if good else [None] * 3
        assert [column[row].as_py() for column in columns] == expected
        assert reasons[row].is_valid != good


def test_split_columns_of_a_slice_and_of_nothing() -> None:
    lines = pa.array(["bad", "a,b", '"c",d', "e,f"]).slice(1)
    columns, reasons = split_columns(lines, 2, 2)
    assert [column.to_pylist() for column in columns] == [["a", "c", "e"], ["b", "d", "f"]]
    assert reasons.null_count == 3
    columns, reasons = split_columns(pa.array([], pa.string()), 2, 2)
    assert [len(column) for column in columns] == [0, 0]
    assert len(reasons) == 0


#: Mostly plain, with all that makes a line something else.
PLAIN = st.text(st.sampled_from(' ab1.-,"[\\\r\n\ufeff\0é'), max_size=6)


@given(st.lists(PLAIN), st.integers(1, 3))
def test_plain_columns_agree_with_split_columns(lines: list[str], n_tokens: int) -> None:
    texts = pa.array(lines, pa.string())
    columns = plain_columns(texts, n_tokens, dict.fromkeys(range(n_tokens), pa.string()))
    expected, reasons = split_columns(texts, n_tokens, n_tokens)
    if columns is None:
        assert lines
        return
    assert reasons.null_count == len(lines)
    for column, others in zip(columns, expected, strict=True):
        assert column.to_pylist() == [other or None for other in others.to_pylist()]


def test_plain_columns_are_of_the_kinds_asked_for() -> None:
    ids = pa.dictionary(pa.int32(), pa.string())
    lines = pa.array(["no", "u,é,1.5,x", "u,,-2e3,y", "v,[w],,z"]).slice(1)
    columns = plain_columns(lines, 4, {2: pa.float64(), 0: ids})
    assert columns is not None
    assert [column.to_pylist() for column in columns] == [[1.5, -2000, None], ["u", "u", "v"]]
    assert columns[1].type == ids
    assert plain_columns(pa.array(["a,b"]), 2, {}) == []


@pytest.mark.parametrize(
    "line", [None, "", "a", "a,b,c", "a,b\n", "a,b\r", '"a",1', "[1,2]", "a,x"]
)
def test_lines_that_may_not_be_plain_are_left_to_others(line: str | None) -> None:
    kinds = {0: pa.string(), 1: pa.float64()}
    assert plain_columns(pa.array(["a,1"]), 2, kinds) is not None
    assert plain_columns(pa.array(["a,1", line]), 2, kinds) is None
