"""Bad records of the input topic: what is said of them, and what the dead letter keeps."""

from __future__ import annotations

import hashlib

import pyarrow as pa
import pytest

from common.runtime.configuration import load
from common.runtime.families import input_lines
from common.wire.dead_letters import DeadLetter, read_values

LIMIT = 1024
BOTH = [b"u,i,1,5", b"v,j"]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        pytest.param(None, "null_value", id="T01-null"),
        pytest.param(b"u\xff,i", "parse: not UTF-8", id="T02-not-utf-8"),
        pytest.param(b"u", "parse: 1 fields", id="T02-arity"),
        pytest.param(b"u,i,NaN", "parse: bad_strength", id="T02-nan"),
        pytest.param(b",i", "parse: empty_id", id="T02-empty-id"),
        pytest.param(b'"u,i', "parse: the quote", id="T02-quote"),
        pytest.param(b"u," + b"i" * LIMIT, "too_large", id="T04-line"),
    ],
)
def test_a_bad_line_is_named_among_good_ones(value: bytes | None, reason: str) -> None:
    lines = input_lines(load(environment={}))
    values = pa.array([BOTH[0], value, BOTH[1]], pa.binary())
    found = read_values(values, lines.read, LIMIT).reasons.to_pylist()
    assert found[::2] == [None, None]
    assert found[1].startswith(reason)
    letter, headers = DeadLetter("input", 3, 7, "batch", found[1], value).record()
    told = dict(headers)
    assert (told["topic"], told["partition"], told["offset"]) == (b"input", b"3", b"7")
    if reason == "too_large":
        assert value is not None
        assert letter == b""
        assert told["sha256"].decode() == hashlib.sha256(value).hexdigest()
    else:
        assert letter == (value or b"")
