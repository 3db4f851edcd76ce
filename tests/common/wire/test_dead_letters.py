"""Which lines are refused, why, and what the dead-letter topic keeps of them."""

from __future__ import annotations

import hashlib

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.api import Read
from common.wire.dead_letters import DeadLetter, read_values


def read(lines: pa.StringArray) -> Read:
    """Refuse lines that begin with "bad"; what is read is the line and, by number, its length."""
    bad = pc.starts_with(lines, "bad")
    columns = {"line": lines.dictionary_encode(), "length": pc.utf8_length(lines)}
    reasons = pc.if_else(bad, "it is bad", pa.scalar(None, pa.string()))
    return Read(pa.record_batch(columns), reasons)


def judge(*values: bytes | None) -> list[str | None]:
    columns, reasons = read_values(pa.array(values, pa.binary()), read, 10)
    found: list[str | None] = reasons.to_pylist()
    assert columns.num_rows == len(found)
    for value, reason, row in zip(values, found, columns.to_pylist(), strict=True):
        if reason is None:
            assert value is not None
            assert row == {"line": value.decode(), "length": len(value.decode())}
    return found


def test_each_kind_of_bad_line_has_its_reason_and_good_ones_have_none() -> None:
    found = judge(b"good", None, b"x" * 11, b"\xff", b"bad", b"", b"x" * 10, "é".encode())
    assert found == [
        None,
        "null_value",
        "too_large: 11 bytes, at most 10 are allowed",
        "parse: not UTF-8: invalid start byte at byte 0",
        "parse: it is bad",
        None,
        None,
        None,
    ]


def test_lines_that_are_all_text_of_a_lawful_length_are_the_familys_to_judge() -> None:
    assert judge(b"good", b"bad", b"good") == [None, "parse: it is bad", None]
    assert judge(b"good") == [None]
    assert judge(b"good", b"x" * 11) == [None, "too_large: 11 bytes, at most 10 are allowed"]
    assert judge() == []


@given(st.lists(st.none() | st.binary(max_size=14) | st.sampled_from([b"bad 1", b"good"])))
def test_a_line_is_judged_alike_alone_and_among_others(values: list[bytes | None]) -> None:
    assert judge(*values) == [judge(value)[0] for value in values]


@pytest.mark.parametrize("value", [b"\xff\xfe", b"bad line", b""])
def test_a_letter_keeps_the_original_bytes_and_the_coordinates(value: bytes) -> None:
    kept, headers = DeadLetter("events", 3, 17, "batch", "parse: x", value).record()
    assert kept == value
    assert dict(headers) == {
        "topic": b"events",
        "partition": b"3",
        "offset": b"17",
        "layer": b"batch",
        "reason": b"parse: x",
    }


def test_of_a_line_that_was_too_large_the_letter_keeps_length_and_hash() -> None:
    value = b"x" * 5000
    kept, headers = DeadLetter("events", 3, 17, "speed", "too_large: 5000 bytes", value).record()
    assert kept == b""
    assert dict(headers) == {
        "topic": b"events",
        "partition": b"3",
        "offset": b"17",
        "layer": b"speed",
        "reason": b"too_large: 5000 bytes",
        "bytes": b"5000",
        "sha256": hashlib.sha256(value).hexdigest().encode(),
    }


def test_a_letter_keeps_a_value_of_exactly_the_largest_size_and_no_larger_one() -> None:
    def kept(value: bytes) -> tuple[bytes, bool]:
        letter, headers = DeadLetter("events", 0, 0, "update", "parse: x", value).record(10)
        return letter, "sha256" in dict(headers)

    assert kept(b"x" * 10) == (b"x" * 10, False)
    assert kept(b"x" * 11) == (b"", True)


def test_a_record_without_a_value_leaves_a_letter_without_one() -> None:
    assert DeadLetter("events", 0, 0, "batch", "null_value", None).record()[0] == b""
