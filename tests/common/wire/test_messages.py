"""The wire: what is written reads back, and what cannot be read says why."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.wire.messages import (
    UNBOUND,
    UNREAD,
    UP,
    WRITER,
    Claim,
    Message,
    MessageError,
    Progress,
    Stamp,
)

numbers = st.integers(0, 2**62)
texts = st.none() | st.text("0123456789abcdef:", min_size=1, max_size=64)
stamps = st.builds(
    Stamp, numbers, numbers, texts, texts, texts, *(st.none() | numbers for _ in range(3))
)


@given(stamps)
def test_stamps_survive_the_wire(stamp: Stamp) -> None:
    assert Stamp.from_headers(stamp.to_headers()) == stamp


@given(
    st.builds(
        Progress,
        st.dictionaries(st.integers(0, 1000), numbers),
        st.none() | numbers,
        numbers,
        st.none() | st.text(),
    )
)
def test_progress_survives_the_wire(progress: Progress) -> None:
    assert Progress.from_value(progress.to_value()) == progress


def test_a_progress_of_an_older_writer_needs_all_messages_of_the_generation() -> None:
    found = Progress.from_value('{"offsets": {"0": 4}, "event_time": 9, "later": {}}')
    assert found == Progress({0: 4}, 9, since=1, topic_id=None)


@given(st.builds(Claim, st.text(), st.text()))
def test_claims_survive_the_wire(claim: Claim) -> None:
    assert Claim.from_value(claim.to_value()) == claim


@pytest.mark.parametrize("value", ["", "[]", "{}", '{"writer": 3, "app": "als"}'])
def test_a_bad_claim_says_what_it_is(value: str) -> None:
    with pytest.raises(MessageError, match="bad WRITER value"):
        Claim.from_value(value)


@pytest.mark.parametrize("value", [b"new", b"\xff", None])
@pytest.mark.parametrize("version", [b"1", b"99", None])
def test_a13_a_record_of_a_later_version_is_not_read(
    value: bytes | None, version: bytes | None
) -> None:
    found = Message.from_record(b"RELEASE", value, [("gemsbok-version", version)])
    assert found == Message("RELEASE", "", UNREAD)


def test_an_unknown_key_without_our_headers_is_read_as_it_is() -> None:
    assert Message.from_record(b"NEWS", b"x", []) == Message("NEWS", "x", None)


def test_a_claim_is_stamped_and_belongs_to_no_generation() -> None:
    found = Message.from_record(b"WRITER", b"{}", UNBOUND.to_headers())
    assert found == Message(WRITER, "{}", UNBOUND)


@pytest.mark.parametrize("value", ["", "[]", "{}", '{"offsets": 3}', '{"offsets": {"a": 1}}'])
def test_a_bad_progress_says_what_it_is(value: str) -> None:
    with pytest.raises(MessageError, match="bad PROGRESS value"):
        Progress.from_value(value)


def test_a_record_without_our_headers_has_no_stamp() -> None:
    message = Message.from_record(b"UP", "wörd,3".encode(), [("other", b"x")])
    assert message == Message(UP, "wörd,3", None)


@pytest.mark.parametrize(
    ("key", "value", "headers", "code", "told"),
    [
        (None, b"x", [], "unknown_key", "without a key"),
        (b"UP", None, [], "null_value", "without a value"),
        (b"UP", b"\xff", [], "parse", "not UTF-8"),
        (b"UP", b"x", [("gemsbok-version", b"99")], "schema", "unknown gemsbok-version 99"),
        (b"UP", b"x", Stamp(1, 1).to_headers()[:1], "parse", "'generation' is missing"),
        (b"UP", b"x", [("gemsbok-version", None)], "parse", "'gemsbok-version' has no value"),
        (
            b"UP",
            b"x",
            [*Stamp(1, 1).to_headers(), ("sha256", None)],
            "parse",
            "'sha256' has no value",
        ),
        (
            b"UP",
            b"x",
            [("gemsbok-version", b"1"), ("generation", b"one"), ("sequence", b"1")],
            "parse",
            "'generation' is not a number",
        ),
    ],
)
def test_a_bad_record_says_why(
    key: bytes | None,
    value: bytes | None,
    headers: list[tuple[str, bytes | None]],
    code: str,
    told: str,
) -> None:
    with pytest.raises(MessageError, match=told) as caught:
        Message.from_record(key, value, headers)
    assert caught.value.code == code


@pytest.mark.parametrize(("version", "is_read"), [(-1, False), (0, True), (1, True), (2, False)])
def test_this_version_of_the_headers_and_the_one_before_it_are_read(
    version: int, is_read: bool
) -> None:
    headers = [("gemsbok-version", b"%d" % version), *Stamp(5, 7).to_headers()[1:]]
    if is_read:
        assert Stamp.from_headers(headers) == Stamp(5, 7)
    else:
        with pytest.raises(MessageError, match=f"unknown gemsbok-version {version};"):
            Stamp.from_headers(headers)


def test_a_later_record_whose_key_is_no_text_is_not_read_either() -> None:
    found = Message.from_record(b"\xffNEW", b"x", Stamp(1, 1).to_headers())
    assert found == Message("\N{REPLACEMENT CHARACTER}NEW", "", UNREAD)


@pytest.mark.parametrize(
    ("read", "value", "shown"),
    [
        (Progress.from_value, "~" * 1000, 200),
        (Claim.from_value, "~" * 1000, 200),
        (Claim.from_value, f'{{"writer": 3, "app": "{"~" * 1000}"}}', 178),
        (lambda value: Stamp.from_headers([("gemsbok-version", value.encode())]), "~" * 1000, 100),
    ],
)
def test_of_a_long_bad_value_the_error_shows_the_beginning(
    read: Callable[[str], object], value: str, shown: int
) -> None:
    with pytest.raises(MessageError) as caught:
        read(value)
    assert str(caught.value).count("~") == shown
