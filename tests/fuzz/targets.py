"""What reads bytes from outside, each with the errors that it may end with.

A target takes any bytes.  It returns, or what it calls has a fault: another exception, an
answer that contradicts itself, or no answer in time.
"""

from __future__ import annotations

import contextlib
import functools
import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa

from common.apps.als.events import read
from common.apps.als.payload import decode_update
from common.apps.als.pmml import read_als_pmml
from common.base.lines import LineError, join_line, parse_line
from common.pmml.documents import PmmlError, parse
from common.store.generations import Manifest, ModelStore, StoreError
from common.wire.dead_letters import read_values
from common.wire.messages import Message, MessageError, Progress
from serving_layer.access.digest import Digest, LoginError
from serving_layer.apps.als.events import MAX_AHEAD, completed
from serving_layer.http.decoding import Budget, multipart_texts, plain_text, unpack
from serving_layer.http.errors import ApiError
from serving_layer.http.paths import canonical
from serving_layer.request.bodies import json_lines

Target = Callable[[bytes], None]

#: Milliseconds since 1970, of which no timestamp is the future.
LATEST = 2**63 - 1 - MAX_AHEAD
#: Bytes that a body may unfold to here.
BUDGET = 1 << 20


def lines(data: bytes) -> None:
    """Read an input line; what is good is written and read again as the same."""
    columns, reasons = read_values(pa.array([data], pa.binary()), read, 65536)
    text = data.decode(errors="replace")
    with contextlib.suppress(LineError):
        tokens = parse_line(text)
        assert parse_line(join_line(tokens)) == tokens
    if reasons.null_count:
        sent = completed(columns, LATEST)
        assert read(pa.array(sent)).reasons.null_count == 1, sent


def json_body(data: bytes) -> None:
    """Read a body in JSON; each of its lines is text that can be sent."""
    with contextlib.suppress(ApiError):
        for line in json_lines(plain_text(data)):
            line.encode()


def compressed(data: bytes) -> None:
    """Decompress a body, by either way, within its budget."""
    for encoding in ("gzip", "deflate"):
        with contextlib.suppress(ApiError):
            assert len(unpack(data, encoding, Budget(BUDGET))) <= BUDGET


def multipart(data: bytes) -> None:
    """Read a body of several parts, with ZIP files among them."""
    with contextlib.suppress(ApiError):
        assert sum(map(len, multipart_texts(data, "x", Budget(BUDGET)))) <= BUDGET + len(data)


def pmml(data: bytes) -> None:
    """Read a PMML document."""
    with contextlib.suppress(PmmlError):
        parse(data)
        read_als_pmml(data)


@functools.cache
def _store() -> tuple[ModelStore, tempfile.TemporaryDirectory[str]]:
    folder = tempfile.TemporaryDirectory(prefix="gemsbok-fuzz-")
    inside = Path(folder.name) / "store"
    inside.mkdir()
    (inside / "model.pmml").write_text("inside", encoding="utf-8")
    (Path(folder.name) / "outside").write_text("outside", encoding="utf-8")
    (inside / "link").symlink_to(Path(folder.name) / "outside")
    return ModelStore(str(inside)), folder


def reference(data: bytes) -> None:
    """Follow a MODEL-REF: it leads to a file of the store, or nowhere."""
    store, _ = _store()
    text = data.decode(errors="replace")
    for name in (text, store.locate(text)):
        with contextlib.suppress(StoreError):
            assert store.read_reference(name) == "inside"


def update(data: bytes) -> None:
    """Read a record of the update topic, its headers too."""
    head, _, value = data.partition(b"\n")
    names = (b"gemsbok-version", b"generation", b"sequence", b"event-time", b"updates")
    headers = [(name.decode(), part) for name, part in zip(names, head.split(b","), strict=False)]
    with contextlib.suppress(MessageError):
        message = Message.from_record(b"UP", value, headers)
        with contextlib.suppress(MessageError):
            decode_update(message.value)
        Progress.from_value(message.value)
    with contextlib.suppress(StoreError):
        Manifest.from_json(value)


def path(data: bytes) -> None:
    """Read a request's path: its canonical form is text without control characters."""
    with contextlib.suppress(ApiError):
        found = canonical(data.decode("latin-1"))
        assert found.startswith("/") or found == ""
        assert not set(map(chr, range(32))) & set(found)


def digest(data: bytes) -> None:
    """Check the parts of a digest; nobody gets in by guessing."""
    try:
        given = json.loads(data)
    except (ValueError, RecursionError):
        return
    if not isinstance(given, dict):
        return
    texts = {str(name): str(value) for name, value in given.items()}
    with contextlib.suppress(LoginError):
        Digest(300.0, lambda: 0.0, b"key").check(texts, "GET", "/", "0" * 64)
        message = "a digest was guessed"
        raise AssertionError(message)


TARGETS: dict[str, Target] = {
    "lines": lines,
    "json": json_body,
    "compressed": compressed,
    "multipart": multipart,
    "pmml": pmml,
    "reference": reference,
    "update": update,
    "path": path,
    "digest": digest,
}
