"""Bodies become lines, lines become records: all of them or none."""

from __future__ import annotations

import functools
import gzip
import io
import threading
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any

import httpx
import pytest
from flask.testing import FlaskClient
from hypothesis import given
from hypothesis import strategies as st

from common.broker import BrokerError
from serving_layer.http.decoding import Budget, gunzip
from serving_layer.http.errors import ApiError
from tests.stand_in import StandIn

CSV = {"Content-Type": "text/csv"}
JSON = {"Content-Type": "application/json"}
BODY = b"a,1\nb,2\nc,3\n"
RECORDS = [("a", "a,1"), ("b", "b,2"), ("c", "c,3")]


def code(reply: Any) -> str:
    return str(reply.json["error"]["code"])


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


def zipped(entries: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return out.getvalue()


def upload(client: FlaskClient, *parts: tuple[bytes, str, str]) -> Any:
    data = {
        f"part{n}": (io.BytesIO(body), name, kind) for n, (body, name, kind) in enumerate(parts)
    }
    return client.post("/ingest", data=data, content_type="multipart/form-data")


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        pytest.param(BODY, CSV, id="csv"),
        pytest.param(BODY, {"Content-Type": "text/plain; charset=utf-8"}, id="text"),
        pytest.param(BODY[:-1], CSV, id="no-final-newline"),
        pytest.param(BODY.replace(b"\n", b"\r\n"), CSV, id="crlf"),
        pytest.param(b"\xef\xbb\xbf" + BODY, CSV, id="bom"),
        pytest.param(b"\n  \n" + BODY + b"\n", CSV, id="blank-lines"),
        pytest.param(gzip.compress(BODY), {**CSV, "Content-Encoding": "gzip"}, id="gzip"),
        pytest.param(
            gzip.compress(BODY[:4]) + gzip.compress(BODY[4:]),
            {**CSV, "Content-Encoding": "gzip"},
            id="gzip-members",
        ),
        pytest.param(zlib.compress(BODY), {**CSV, "Content-Encoding": "deflate"}, id="deflate"),
        pytest.param(raw_deflate(BODY), {**CSV, "Content-Encoding": "deflate"}, id="raw-deflate"),
        pytest.param(b'"a,1"\n"b,2"\n"c,3"', JSON, id="json-strings"),
    ],
)
def test_every_form_of_a_body_sends_the_same_records(
    served: Any, body: bytes, headers: dict[str, str]
) -> None:
    reply = served.client.post("/ingest", data=body, headers=headers)
    assert (reply.status_code, reply.data) == (204, b"")
    assert served.sent() == RECORDS


def test_json_arrays_are_one_event_each(served: Any) -> None:
    both = [b'[["a","B",1],["c",null]]', b'["a","B",1]\n["c",null]\n']
    for body in both:
        assert served.client.post("/ingest", data=body, headers=JSON).status_code == 204
    values = [value for _, value in served.sent()]
    assert values == ['["a","B",1]', '["c",null]'] * 2


def test_one_json_array_of_scalars_is_one_event(served: Any) -> None:
    assert served.client.post("/ingest", data=b'["a","b"]', headers=JSON).status_code == 204
    assert [value for _, value in served.sent()] == ['["a","b"]']


@pytest.mark.parametrize(
    "parts",
    [
        pytest.param([(BODY, "a.csv", "text/csv")], id="plain"),
        pytest.param([(BODY[:4], "a.csv", "text/csv"), (BODY[4:], "b", "")], id="two-parts"),
        pytest.param([(gzip.compress(BODY), "a.csv.gz", "application/gzip")], id="gzip"),
        pytest.param([(gzip.compress(BODY), "a.csv.gz", "application/x-gzip")], id="x-gzip"),
        pytest.param(
            [
                (
                    zipped({"a.csv": BODY[:4], "b/": b"", "b/c.csv": BODY[4:]}),
                    "a.zip",
                    "application/zip",
                )
            ],
            id="zip",
        ),
    ],
)
def test_files_of_a_form_send_their_lines(served: Any, parts: list[tuple[bytes, str, str]]) -> None:
    assert upload(served.client, *parts).status_code == 204
    assert served.sent() == RECORDS


@given(st.lists(st.binary(max_size=2000), max_size=5), st.integers(1, 300))
def test_gzip_of_any_size_and_members_unfolds_to_the_same_bytes(
    members: list[bytes], repeat: int
) -> None:
    plain = [member * repeat for member in members]
    packed = b"".join(gzip.compress(member) for member in plain)
    budget = Budget(sum(map(len, plain)))
    assert gunzip(packed, budget) == b"".join(plain)
    assert budget.left == 0


def test_a_bomb_takes_no_more_memory_than_its_limit() -> None:
    bomb = gzip.compress(bytes(1 << 28), 1)
    tracemalloc.start()
    try:
        with pytest.raises(ApiError, match="max_body_bytes"):
            gunzip(bomb, Budget(1 << 24))
        assert tracemalloc.get_traced_memory()[1] < (1 << 24) * 1.25
    finally:
        tracemalloc.stop()


def test_an_unusual_line_break_belongs_to_its_line(served: Any) -> None:
    body = "a\u2028b,1\x0bc\x85d\n"
    assert served.client.post("/ingest", data=body.encode(), headers=CSV).status_code == 204
    assert [value for _, value in served.sent()] == ["a\u2028b,1\x0bc\x85d"]


GZIP = {**CSV, "Content-Encoding": "gzip"}


@pytest.mark.parametrize(
    ("body", "headers", "status", "error"),
    [
        pytest.param(b"", CSV, 400, "empty_body", id="empty"),
        pytest.param(b"\n \r\n", CSV, 400, "empty_body", id="blank"),
        pytest.param(b"", {}, 400, "empty_body", id="empty-untyped"),
        pytest.param(BODY, {}, 415, "unsupported_type", id="untyped"),
        pytest.param(BODY, {"Content-Type": "image/png"}, 415, "unsupported_type", id="png"),
        pytest.param(
            zipped({"a": BODY}),
            {"Content-Type": "application/zip"},
            415,
            "unsupported_type",
            id="zip-body",
        ),
        pytest.param(b"a,\xff\n", CSV, 400, "bad_encoding", id="not-utf-8"),
        pytest.param(b"a,1\nbad,1\n", CSV, 400, "bad_line", id="bad-line"),
        pytest.param(b"a," + b"1" * 70_000, CSV, 413, "line_too_long", id="long-line"),
        pytest.param("é".encode() * 32_769, CSV, 413, "line_too_long", id="long-in-bytes"),
        pytest.param(gzip.compress(BODY)[:-9], GZIP, 400, "bad_gzip", id="gzip-truncated"),
        pytest.param(gzip.compress(BODY)[:-8] + b"0" * 8, GZIP, 400, "bad_gzip", id="gzip-crc"),
        pytest.param(gzip.compress(BODY) + b"x", GZIP, 400, "bad_gzip", id="gzip-trailing"),
        pytest.param(BODY, GZIP, 400, "bad_gzip", id="gzip-that-is-none"),
        pytest.param(
            zlib.compress(BODY) + b"x",
            {**CSV, "Content-Encoding": "deflate"},
            400,
            "bad_gzip",
            id="deflate-trailing",
        ),
        pytest.param(gzip.compress(bytes(2_000_000)), GZIP, 413, "body_too_large", id="gzip-bomb"),
        pytest.param(BODY, {**CSV, "Content-Encoding": "br"}, 415, "unsupported_encoding", id="br"),
        pytest.param(
            BODY,
            {**CSV, "Content-Encoding": "gzip, gzip"},
            415,
            "unsupported_encoding",
            id="gzip-twice",
        ),
        pytest.param(b'[["a",1', JSON, 400, "bad_json", id="json"),
        pytest.param(b'[["a",NaN]]', JSON, 400, "bad_json", id="json-nan"),
        pytest.param(b'[["a",1e999]]', JSON, 400, "bad_json", id="json-infinite"),
        pytest.param(b'["' + b"\\ud800" + b'"]', JSON, 400, "bad_encoding", id="json-surrogate"),
        pytest.param(b"[" * 100_000, JSON, 400, "bad_json", id="json-deep"),
        pytest.param(b'{"a":1,"a":2}', JSON, 400, "schema", id="json-object"),
        pytest.param(b'[["a",["b"]]]', JSON, 400, "schema", id="json-nested"),
        pytest.param(b'[["a",true]]', JSON, 400, "schema", id="json-true"),
        pytest.param(b'"a\\nb"', JSON, 400, "schema", id="json-two-lines"),
        pytest.param(
            b"--x\r\n",
            {"Content-Type": "multipart/form-data"},
            400,
            "bad_multipart",
            id="no-boundary",
        ),
        pytest.param(
            b"--x\r\nnonsense",
            {"Content-Type": "multipart/form-data; boundary=x"},
            400,
            "bad_multipart",
            id="multipart-cut",
        ),
    ],
)
def test_a_bad_body_sends_nothing(
    serve: Callable[..., Any], body: bytes, headers: dict[str, str], status: int, error: str
) -> None:
    served = serve(serving__api__max_body_bytes=1_000_000)
    reply = served.client.post("/ingest", data=body, headers=headers)
    assert (reply.status_code, code(reply)) == (status, error)
    assert served.sent() == []
    assert served.client.post("/ingest", data=BODY, headers=CSV).status_code == 204


def test_the_bad_line_is_numbered_as_the_sender_counts(served: Any) -> None:
    body = b"\n" + b"a,1\n" * 998 + b"bad,1\n"
    reply = served.client.post("/ingest", data=body, headers=CSV)
    assert reply.json["error"]["line"] == 1000
    assert served.sent() == []


@pytest.mark.parametrize(
    ("entries", "error"),
    [
        ({"../a.csv": BODY}, "unsupported_type"),
        ({"/a.csv": BODY}, "unsupported_type"),
        ({"a.zip": zipped({"a": BODY})}, "unsupported_type"),
        ({"a.gz": gzip.compress(BODY)}, "unsupported_type"),
        ({"a.csv": bytes(2_000_000)}, "body_too_large"),
        ({str(n): b"a" for n in range(1001)}, "too_many_parts"),
    ],
)
def test_bad_zip_files_send_nothing(
    serve: Callable[..., Any], entries: dict[str, bytes], error: str
) -> None:
    served = serve(serving__api__max_body_bytes=1_000_000)
    reply = upload(served.client, (zipped(entries), "a.zip", "application/zip"))
    assert code(reply) == error
    assert served.sent() == []


def test_what_is_no_zip_file_is_refused(served: Any) -> None:
    reply = upload(served.client, (BODY, "a.zip", "application/zip"))
    assert (reply.status_code, code(reply)) == (400, "bad_zip")


def test_too_many_parts_are_refused(served: Any) -> None:
    reply = upload(served.client, *[(b"a,1", f"{n}.csv", "text/csv") for n in range(1001)])
    assert (reply.status_code, code(reply)) == (413, "too_many_parts")
    assert served.sent() == []


def test_a_read_only_layer_refuses_before_it_reads(serve: Callable[..., Any]) -> None:
    served = serve(serving__api__read_only=True)
    for path, body in (("/ingest", BODY), ("/ingest", b"\xff"), ("/pref/u", b"")):
        reply = served.client.post(path, data=body, headers=CSV)
        assert (reply.status_code, code(reply)) == (403, "read_only")
        assert reply.json["error"]["message"] == "Serving Layer is read-only"
    assert served.client.post("/lines", data=BODY, headers=CSV).text.count("\n") == 3
    assert served.sent() == []


def test_a_body_may_be_optional(served: Any) -> None:
    assert served.client.post("/pref/u").status_code == 204
    assert served.client.post("/pref/v", data=b"2.5", headers=JSON).status_code == 204
    assert served.sent() == [("u", "u,1"), ("v", "v,2.5")]


@pytest.mark.parametrize(
    ("failure", "error"),
    [
        (BrokerError("timed out", outcome_unknown=True), "outcome_unknown"),
        (BrokerError("not the leader", retriable=True), "broker_unavailable"),
    ],
)
def test_what_is_not_acknowledged_is_503(served: Any, failure: BrokerError, error: str) -> None:
    served.broker.fail_next_flush = failure
    reply = served.client.post("/ingest", data=BODY, headers=CSV)
    assert (reply.status_code, code(reply)) == (503, error)
    assert reply.headers["Retry-After"] == "5"
    assert served.client.post("/ingest", data=BODY, headers=CSV).status_code == 204


def test_a_broker_that_hangs_leaves_threads_for_queries(
    serve: Callable[..., Any], run: Callable[..., Any]
) -> None:
    answers = threading.Event()

    class Hanging(StandIn):
        def send_all(self, *_: object) -> int:
            return answers.wait(60)

    served = serve(Hanging, serving__api__threads=4)
    server = run(served.app)
    url = f"http://{server.host}:{server.port}"
    with httpx.Client(timeout=60) as client, ThreadPoolExecutor(6) as pool:
        post = functools.partial(client.post, f"{url}/ingest", content=BODY, headers=CSV)
        posts = [pool.submit(post) for _ in range(6)]
        ended = as_completed(posts)
        turned_away = [next(ended).result() for _ in range(4)]
        assert client.get(f"{url}/name").text == "one"
        answers.set()
        assert [one.result().status_code for one in ended] == [204] * 2
    assert {code_of(reply) for reply in turned_away} == {(503, "overloaded")}


def code_of(reply: httpx.Response) -> tuple[int, str]:
    return reply.status_code, reply.json()["error"]["code"]


def test_acknowledged_lines_are_counted(served: Any) -> None:
    served.client.post("/ingest", data=BODY, headers=CSV)
    assert "gemsbok_events_sent_total 3.0" in served.client.get("/metrics").text


def test_an_unknown_parameter_stops_a_write(served: Any) -> None:
    reply = served.client.post("/ingest?lines=3", data=BODY, headers=CSV)
    assert (reply.status_code, code(reply)) == (400, "bad_parameter")
    assert served.sent() == []
