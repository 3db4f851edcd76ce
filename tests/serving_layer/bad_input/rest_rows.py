"""The rows of bad input at the HTTP interface: request, status, code."""

from __future__ import annotations

import gzip
import io
import time
import zipfile

from tests.serving_layer.bad_input.requests import (
    BODY_LIMIT,
    CLOSE,
    HOST,
    Row,
    form,
    get,
    json,
    packed,
    post,
    raw,
    unfinished,
)

GOOD = b"U0,I1,1\n"
CHUNKED = "Transfer-Encoding: chunked"
IN_TEN_YEARS = int((time.time() + 10 * 365 * 86400) * 1000)


def zipped(name: str, content: bytes) -> bytes:
    """A ZIP file with one entry."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return out.getvalue()


LINES = [
    Row("B01-empty", post(b""), 400, "empty_body"),
    Row("B01-blank-lines", post(b"\n \r\n\n"), 400, "empty_body"),
    Row("B02-one-field", post(b"u"), 400, "bad_line", line=1),
    Row("B02-five-fields", post(b"u,i,1,2,3"), 400, "bad_line", line=1),
    Row("B03-last-of-1000", post(GOOD * 999 + b"u\n"), 400, "bad_line", line=1000),
    Row("B04-user", post(b",i,1"), 400, "empty_id", line=1),
    Row("B04-item", post(b"u,,1"), 400, "empty_id", line=1),
    Row("B05-word", post(b"u,i,abc"), 400, "bad_strength", line=1),
    Row("B06-nan", post(b"u,i,NaN"), 400, "bad_strength", line=1),
    Row("B06-inf", post(b"u,i,inf"), 400, "bad_strength", line=1),
    Row("B06-overflow", post(b"u,i,1e999"), 400, "bad_strength", line=1),
    Row("B08-negative", post(b"u,i,1,-1"), 400, "bad_timestamp", line=1),
    Row("B08-zero", post(b"u,i,1,0"), 400, "bad_timestamp", line=1),
    Row("B08-fraction", post(b"u,i,1,1.5"), 400, "bad_timestamp", line=1),
    Row("B08-2^63", post(b"u,i,1,9223372036854775808"), 400, "bad_timestamp", line=1),
    Row("B09-ten-years", post(f"u,i,1,{IN_TEN_YEARS}".encode()), 400, "future_timestamp", line=1),
    Row("B09-spaces", post(f"u,i,1, {IN_TEN_YEARS}".encode()), 400, "future_timestamp", line=1),
    Row("B11-quote", post(b'"u,i,1'), 400, "bad_line", line=1),
    Row("B13-nul", post(b"u\0,i"), 400, "bad_id", line=1),
    Row("B13-tab", post(b"u,i\t"), 400, "bad_id", line=1),
    Row("B13-line-break", json(rb'["u\n","i"]'), 400, "bad_id", line=1),
    Row("B13-path", post(b"", "", "/pref/u%01/i"), 400, "bad_id"),
    Row("B14-body", post(GOOD + b"u\xff,i\n"), 400, "bad_encoding", line=2),
    Row("B15-line", post(b"u" * 1025 + b",i"), 400, "id_too_long", line=1),
    Row("B15-path", post(b"", "", f"/pref/{'u' * 1025}/i"), 400, "id_too_long"),
    Row("B16-line", post(b"u," + b"i" * (1 << 20)), 413, "line_too_long", line=1),
]

LENGTHS = [
    Row("B17-length", unfinished(b"", f"Content-Length: {BODY_LIMIT + 1}"), 413, "body_too_large"),
    Row(
        "B18-chunks-over-limit",
        unfinished(b"1E8481\r\n", CHUNKED),
        411,
        "length_required",
    ),
    Row(
        "B19-truncated",
        unfinished(b"u,i", "Content-Length: 10"),
        400,
        "truncated_body",
        half_close=True,
    ),
    Row(
        "B20-chunks-end-early",
        unfinished(b"8\r\nu,i", CHUNKED),
        411,
        "length_required",
        half_close=True,
    ),
    Row("B21-chunk-size", unfinished(b"zz\r\nu,i\r\n", CHUNKED), 411, "length_required"),
]

ENCODINGS = [
    Row("B23-bomb", packed(gzip.compress(bytes(BODY_LIMIT * 1000 // 10))), 413, "body_too_large"),
    Row("B24-truncated", packed(gzip.compress(GOOD)[:-9]), 400, "bad_gzip"),
    Row("B24-checksum", packed(gzip.compress(GOOD)[:-8] + b"0" * 8), 400, "bad_gzip"),
    Row("B24-trailing-bytes", packed(gzip.compress(GOOD) + b"x"), 400, "bad_gzip"),
    Row("B25-plain", packed(GOOD), 400, "bad_gzip"),
    Row("B26-br", packed(GOOD, "br"), 415, "unsupported_encoding"),
    Row("B26-gzip-twice", packed(GOOD, "gzip, gzip"), 415, "unsupported_encoding"),
    Row("B27-zip", post(zipped("a", GOOD), "application/zip"), 415, "unsupported_type"),
    Row(
        "B27-nested",
        form([("application/zip", zipped("a.zip", zipped("a", GOOD)))]),
        415,
        "unsupported_type",
    ),
    Row(
        "B27-outside",
        form([("application/zip", zipped("../a", GOOD))]),
        415,
        "unsupported_type",
    ),
    Row("B28-1001-parts", form([("text/csv", GOOD)] * 1001), 413, "too_many_parts"),
    Row("B29-png", post(GOOD, "image/png"), 415, "unsupported_type"),
    Row("B29-no-type", post(GOOD, ""), 415, "unsupported_type"),
]

JSON = [
    Row("B30-cut", json(b'[["u","i"'), 400, "bad_json", line=1),
    Row("B31-deep", json(b"[" * 100_000), 400, "bad_json", line=1),
    Row("B32-nan", json(b'["u","i",NaN]'), 400, "bad_json", line=1),
    Row("B32-overflow", json(b'["u","i",1e999]'), 400, "bad_json", line=1),
    Row("B33-duplicate-keys", json(b'{"user":"u","user":"v","item":"i"}'), 400, "schema", line=1),
    Row("B34-5000-digits", json(b'["u","i",' + b"1" * 5000 + b"]"), 400, "bad_json", line=1),
    Row("B35-boolean", json(b'["u","i",true]'), 400, "schema", line=1),
    Row("B35-object", json(b'{"user":"u","item":"i"}'), 400, "schema", line=1),
    Row("B35-nested", json(b'["u",["i"]]'), 400, "schema", line=1),
    Row("B36-surrogate", json(rb'["u\ud800","i"]'), 400, "bad_encoding", line=1),
]

QUERIES = [
    Row("B39-user", get("/recommend/nobody"), 404, "unknown_id"),
    Row("B39-item", get("/similarity/nothing"), 404, "unknown_id"),
    Row("B40-zero", get("/recommend/U0?howMany=0"), 400, "bad_parameter"),
    Row("B40-negative", get("/recommend/U0?howMany=-1"), 400, "bad_parameter"),
    Row("B40-word", get("/recommend/U0?howMany=x"), 400, "bad_parameter"),
    Row("B40-huge", get("/recommend/U0?howMany=1000000000"), 400, "bad_parameter"),
    Row("B41-negative", get("/recommend/U0?offset=-1"), 400, "bad_parameter"),
    Row("B41-overflow", get("/recommend/U0?offset=9223372036854775808"), 400, "bad_parameter"),
    Row("B42-repeated", get("/recommend/U0?howMany=1&howMany=2"), 400, "bad_parameter"),
    Row("B43-unknown", get("/recommend/U0?howmany=1"), 400, "bad_parameter"),
    Row("B45-dots", get("/../../etc/passwd"), 404, "not_found"),
    Row("B45-id", get("/recommend/..%2F..%2Fetc%2Fpasswd"), 404, "unknown_id"),
    Row("B46-nul", get("/recommend/a%00b"), 400, "bad_id"),
    Row("B47-not-utf-8", get("/recommend/%ff%fe"), 400, "bad_encoding"),
    Row("B48-escape", get("/recommend/%zz"), 400, "bad_encoding"),
    Row("B49-empty-segment", get("/recommend//U0"), 404, "not_found"),
    Row("B49-leading", get("//recommend/U0"), 404, "not_found"),
    Row("B51-ids", get("/similarity" + "/i" * 10_001), 400, "too_many_ids"),
    Row("B51-pairs", get("/recommendToAnonymous" + "/i" * 10_001), 400, "too_many_ids"),
    Row("B54-method", raw("PUT", "/recommend/U0", HOST, CLOSE), 405, "method_not_allowed"),
    Row("B55-path", get("/nothing/here"), 404, "not_found"),
    Row("B56-accept", get("/recommend/U0", "Accept: image/png"), 406, "not_acceptable"),
]

PROTOCOL = [
    # The server drops the length before we see it, and what comes in chunks is refused.
    Row(
        "B58-length-and-chunks",
        unfinished(b"8\r\nu,i,1\r\n\r\n0\r\n\r\n", "Content-Length: 3", CHUNKED),
        411,
        "length_required",
    ),
    Row("B58-two-lengths", unfinished(b"u,i", "Content-Length: 3", "Content-Length: 4"), 400, None),
    Row("B59-no-host", raw("GET", "/livez", CLOSE), 400, "bad_host"),
    Row("B59-two-hosts", raw("GET", "/livez", HOST, "Host: other", CLOSE), 400, "bad_host"),
    Row("B60-S21-uri", get("/" + "a" * 102_400), 414, None),
    Row("B60-S21-headers", get("/livez", *(f"X-{n}: 1" for n in range(150))), 431, None),
    Row("B61-tls", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 64, 400, None),
]

ROWS = [*LINES, *LENGTHS, *ENCODINGS, *JSON, *QUERIES, *PROTOCOL]
