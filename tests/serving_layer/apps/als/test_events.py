from __future__ import annotations

import gzip
import io
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.apps.als.events import MAX_STRENGTH, read
from common.base.lines import join_line, parse_line
from serving_layer.apps.als.events import completed
from tests.serving_layer.apps.als.fixture import Served, from_files, serve

LINES = "a,B,1\nc,B\nc,D,5.5\nc,D,\na,C,2,123456789\n"


@pytest.fixture
def als(tmp_path: Path) -> Served:
    return serve(from_files(tmp_path))


def assert_ingested(als: Served) -> None:
    sent = als.sent()
    assert [tuple(parse_line(value)[:3]) for _, value in sent] == [
        ("a", "B", "1.0"),
        ("c", "B", "1"),
        ("c", "D", "5.5"),
        ("c", "D", ""),
        ("a", "C", "2.0"),
    ]
    times = [int(parse_line(value)[3]) for _, value in sent]
    assert times[4] == 123456789
    assert len({*times[:4]}) == 1
    assert times[0] > 1_600_000_000_000
    keys = [key for key, _ in sent]
    assert all(keys)
    assert keys[0] == keys[4] != keys[1] == keys[2]


@pytest.mark.parametrize("kind", ["text/csv", "text/plain"])
def test_ingest(als: Served, kind: str) -> None:
    reply = als.client.post("/ingest", data=LINES, content_type=kind)
    assert (reply.status_code, reply.data) == (204, b"")
    assert_ingested(als)


@pytest.mark.parametrize(
    ("encoding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress)]
)
def test_ingest_compressed(als: Served, encoding: str, pack: Any) -> None:
    reply = als.client.post(
        "/ingest",
        data=pack(LINES.encode()),
        content_type="text/csv",
        headers={"Content-Encoding": encoding},
    )
    assert reply.status_code == 204
    assert_ingested(als)


def zipped() -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr("lines.csv", LINES)
    return data.getvalue()


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("text/csv", LINES.encode()),
        ("application/gzip", gzip.compress(LINES.encode())),
        ("application/x-gzip", gzip.compress(LINES.encode())),
        ("application/zip", zipped()),
    ],
)
def test_ingest_a_file(als: Served, kind: str, data: bytes) -> None:
    parts: Mapping[str, Any] = {"data": (io.BytesIO(data), "lines", kind)}
    reply = als.client.post("/ingest", data=parts, content_type="multipart/form-data")
    assert reply.status_code == 204, reply.text
    assert_ingested(als)


def test_ingest_json(als: Served) -> None:
    body = '["a","B",1]\n["c","B"]\n["c","D",5.5]\n["c","D",""]\n["a","C","2",123456789]\n'
    reply = als.client.post("/ingest", data=body, content_type="application/json")
    assert reply.status_code == 204, reply.text
    assert_ingested(als)


def test_an_id_with_a_comma_stays_one_id(als: Served) -> None:
    reply = als.client.post(
        "/ingest", data='"Smith, John","a ""quoted"" item",2\n', content_type="text/csv"
    )
    assert reply.status_code == 204
    ((_, value),) = als.sent()
    assert parse_line(value)[:3] == ["Smith, John", 'a "quoted" item', "2.0"]


@pytest.mark.parametrize(
    "bad",
    [
        "a",
        "a,B,x",
        "a,B,nan",
        "a,B,1e999",
        "a,B,1_0",
        "a,B,1,0",
        "a,B,1,-5",
        "a,B,1,2,3",
        ",B,1",
        '"a,B',
    ],
)
def test_a_bad_line_sends_nothing_at_all(als: Served, bad: str) -> None:
    reply = als.client.post("/ingest", data=f"a,B,1\n{bad}\nc,D\n", content_type="text/csv")
    assert reply.status_code == 400
    assert reply.get_json()["error"]["line"] == 2
    assert als.sent() == []


@pytest.mark.parametrize(
    ("body", "kind", "strength"),
    [
        ("2.5", "text/csv", "2.5"),
        ("2.5", "application/json", "2.5"),
        ('"2.5"', "application/json", "2.5"),
        ("-3\n", "text/plain", "-3.0"),
        ("", "text/plain", "1"),
        ("", "", "1"),
    ],
)
def test_pref(als: Served, body: str, kind: str, strength: str) -> None:
    reply = als.client.post("/pref/U1/I1", data=body, content_type=kind)
    assert (reply.status_code, reply.data) == (204, b"")
    ((key, value),) = als.sent()
    assert key
    assert parse_line(value)[:3] == ["U1", "I1", strength]
    assert int(parse_line(value)[3]) > 1_600_000_000_000


@pytest.mark.parametrize("body", ["aBc!", "NaN", "Infinity", "1e999", "1_000", "1\n2"])
def test_a_strength_that_is_no_number(als: Served, body: str) -> None:
    reply = als.client.post("/pref/U1/I1", data=body, content_type="text/plain")
    assert reply.status_code == 400
    assert reply.get_json()["error"]["code"] == "bad_strength"
    assert als.sent() == []


def test_delete_pref(als: Served) -> None:
    assert als.client.delete("/pref/U1/a%2Cb").status_code == 204
    ((_, value),) = als.sent()
    assert parse_line(value)[:3] == ["U1", "a,b", ""]


def test_read_only_refuses_before_it_looks(tmp_path: Path) -> None:
    als = serve(from_files(tmp_path), serving__api__read_only=True)
    replies = [
        als.client.post("/ingest", data="bad", content_type="text/csv"),
        als.client.post("/pref/U1/I1", data="aBc!", content_type="text/plain"),
        als.client.delete("/pref/U1/I1"),
    ]
    assert [reply.status_code for reply in replies] == [403, 403, 403]
    assert all("Serving Layer is read-only" in reply.text for reply in replies)
    assert als.sent() == []


IDS = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=8)


@given(IDS, IDS, st.none() | st.floats(-MAX_STRENGTH, MAX_STRENGTH))
def test_events_stay_what_they_are(user: str, item: str, strength: float | None) -> None:
    tokens = [user, item] if strength is None else [user, item, repr(strength)]

    def completed_line(line: str, now: int) -> str:
        (found,) = completed(read(pa.array([line])).columns, now)
        return found

    line = completed_line(join_line(tokens), 17)
    expected = "1" if strength is None else repr(strength)
    assert parse_line(line) == [user, item, expected, "17"]
    assert completed_line(line, 18).rpartition(",")[2] == "17"
