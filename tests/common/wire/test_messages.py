"""The wire: what is written reads back, and what cannot be read says why."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.wire.messages import UP, Message, MessageError, Progress, Stamp

numbers = st.integers(0, 2**62)
texts = st.none() | st.text("0123456789abcdef:", min_size=1, max_size=64)
stamps = st.builds(
    Stamp, numbers, numbers, texts, texts, texts, st.none() | numbers, st.none() | numbers
)


@given(stamps)
def test_stamps_survive_the_wire(stamp: Stamp) -> None:
    assert Stamp.from_headers(stamp.to_headers()) == stamp


@given(st.dictionaries(st.integers(0, 1000), numbers), st.none() | numbers)
def test_progress_survives_the_wire(offsets: dict[int, int], event_time: int | None) -> None:
    progress = Progress(offsets, event_time)
    assert Progress.from_value(progress.to_value()) == progress


@pytest.mark.parametrize("value", ["", "[]", "{}", '{"offsets": 3}', '{"offsets": {"a": 1}}'])
def test_a_bad_progress_says_what_it_is(value: str) -> None:
    with pytest.raises(MessageError, match="bad PROGRESS value"):
        Progress.from_value(value)


def test_a_record_without_our_headers_has_no_stamp() -> None:
    message = Message.from_record(b"UP", "wörd,3".encode(), [("other", b"x")])
    assert message == Message(UP, "wörd,3", None)


@pytest.mark.parametrize(
    ("key", "value", "headers", "told"),
    [
        (None, b"x", [], "without a key"),
        (b"UP", None, [], "without a value"),
        (b"UP", b"\xff", [], "not UTF-8"),
        (b"UP", b"x", [("gemsbok-version", b"99")], "unknown gemsbok-version 99"),
        (b"UP", b"x", [("gemsbok-version", b"1")], "'generation' is missing"),
        (
            b"UP",
            b"x",
            [("gemsbok-version", b"1"), ("generation", b"one"), ("sequence", b"1")],
            "'generation' is not a number",
        ),
    ],
)
def test_a_bad_record_says_why(
    key: bytes | None, value: bytes | None, headers: list[tuple[str, bytes]], told: str
) -> None:
    with pytest.raises(MessageError, match=told):
        Message.from_record(key, value, headers)
