"""From bytes to text: decompression within a budget, files in multipart bodies, strict UTF-8."""

from __future__ import annotations

import io
import lzma
import struct
import zipfile
import zlib
from collections.abc import Generator, Iterator
from dataclasses import dataclass

from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.http import parse_options_header
from werkzeug.sansio.multipart import Data, Epilogue, Field, File, MultipartDecoder, NeedData

from serving_layer.http.errors import ApiError

MAX_PARTS = 1000
GZIP_TYPES = ("application/gzip", "application/x-gzip")
ZIP_TYPES = ("application/zip", "application/x-zip-compressed")

#: What `zipfile` and its decompressors raise for bytes that are no ZIP file.
_ZIP_ERRORS = (
    zipfile.BadZipFile,
    zipfile.LargeZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    LookupError,
    OSError,
    RuntimeError,
    ValueError,
)

#: Bytes that are taken and given at once while decompressing.
PIECE = 1 << 18
#: What zlib is told to expect.
GZIP_WINDOW, ZLIB_WINDOW, RAW_WINDOW = 31, 15, -15


@dataclass
class Budget:
    """Bytes that a request may still unfold to."""

    left: int

    def spend(self, size: int) -> None:
        """Take `size` bytes off; 413 if there are not so many left."""
        if size > self.left:
            raise self.exceeded()
        self.left -= size

    def exceeded(self) -> ApiError:
        """Return the error for a body that is too large."""
        message = "the body is larger than serving.api.max_body_bytes, as sent or decompressed"
        return ApiError(413, "body_too_large", message)


def plain_text(data: bytes) -> str:
    """Decode UTF-8 strictly, without a byte order mark."""
    try:
        return data.decode().removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        message = f"byte {error.start} is not UTF-8: {error.reason}"
        raise ApiError(400, "bad_encoding", message, line=line) from None


def unpack(data: bytes, encoding: str, budget: Budget) -> bytes:
    """Undo a ``Content-Encoding``: none, gzip or deflate."""
    if encoding in ("", "identity"):
        budget.spend(len(data))
        return data
    if encoding in ("gzip", "x-gzip"):
        return gunzip(data, budget)
    if encoding == "deflate":
        return b"".join(_inflate(data, _deflate_window(data), budget))
    message = f"Content-Encoding {encoding!r} is not known; send gzip, deflate or none"
    raise ApiError(415, "unsupported_encoding", message)


def gunzip(data: bytes, budget: Budget) -> bytes:
    """Decompress gzip: one member or several, and nothing after them."""
    return b"".join(_inflate(data, GZIP_WINDOW, budget))


def _deflate_window(data: bytes) -> int:
    """Tell deflate as the standard has it (in zlib's frame) from the bare form that some send."""
    framed = len(data) >= 2 and data[0] & 0x0F == 8 and int.from_bytes(data[:2], "big") % 31 == 0
    return ZLIB_WINDOW if framed else RAW_WINDOW


def _inflate(data: bytes, window: int, budget: Budget) -> Iterator[bytes]:
    at = 0
    while at < len(data):
        at = yield from _inflate_one(data, at, window, budget)
        if at < len(data) and window != GZIP_WINDOW:
            reason = "bytes follow its end"
            raise _bad_gzip(reason)


def _inflate_one(data: bytes, at: int, window: int, budget: Budget) -> Generator[bytes, None, int]:
    """Decompress the stream that starts at `at`; returns where it ends.

    A piece at a time, each counted before the next: a bomb is refused while it is still small.
    """
    stream = zlib.decompressobj(window)
    pending = b""
    while not stream.eof:
        if not pending:
            pending = data[at : at + PIECE]
            at += len(pending)
        starved = not pending
        try:
            piece = stream.decompress(pending, PIECE)
        except zlib.error as error:
            raise _bad_gzip(str(error)) from None
        if starved and not piece:
            reason = "it ends early"
            raise _bad_gzip(reason)
        budget.spend(len(piece))
        yield piece
        pending = stream.unconsumed_tail
    return at - len(stream.unused_data)


def _bad_gzip(reason: str) -> ApiError:
    return ApiError(400, "bad_gzip", f"the compressed body cannot be read: {reason}")


def multipart_texts(data: bytes, boundary: str, budget: Budget) -> Iterator[str]:
    """Yield the text of each part, and of each file within a part that is a ZIP."""
    for part, content in _parts(data, boundary):
        kind = parse_options_header(part.headers.get("Content-Type", ""))[0].lower()
        if kind in GZIP_TYPES:
            yield plain_text(gunzip(content, budget))
        elif kind in ZIP_TYPES:
            yield from (plain_text(entry) for entry in _unzip(content, budget))
        else:
            yield plain_text(content)


def _parts(data: bytes, boundary: str) -> Iterator[tuple[Field | File, bytes]]:
    decoder = MultipartDecoder(boundary.encode("latin-1"), max_parts=MAX_PARTS)
    part: Field | File | None = None
    content = bytearray()
    try:
        decoder.receive_data(data)
        decoder.receive_data(None)
        while not isinstance(event := decoder.next_event(), (Epilogue, NeedData)):
            if isinstance(event, (Field, File)):
                part, content = event, bytearray()
            elif isinstance(event, Data) and part is not None:
                content += event.data
                if not event.more_data:
                    yield part, bytes(content)
    except RequestEntityTooLarge:
        message = f"the body has more than {MAX_PARTS} parts"
        raise ApiError(413, "too_many_parts", message) from None
    except ValueError as error:
        message = f"the multipart body cannot be read: {error}"
        raise ApiError(400, "bad_multipart", message) from None


def _unzip(data: bytes, budget: Budget) -> Iterator[bytes]:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = [entry for entry in archive.infolist() if not entry.is_dir()]
            if len(entries) > MAX_PARTS:
                message = f"the ZIP file has more than {MAX_PARTS} entries"
                raise ApiError(413, "too_many_parts", message)
            for entry in entries:
                yield _unzip_entry(archive, entry, budget)
    except _ZIP_ERRORS as error:
        raise ApiError(400, "bad_zip", f"the ZIP file cannot be read: {error}") from None


def _unzip_entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, budget: Budget) -> bytes:
    if entry.flag_bits & 1 or ".." in entry.filename.split("/") or entry.filename.startswith("/"):
        message = f"the ZIP entry {entry.filename!r} is encrypted, or lies outside the archive"
        raise ApiError(415, "unsupported_type", message)
    with archive.open(entry) as file:
        # Its size in the directory is the sender's word; what unfolds is counted.
        content = file.read(budget.left + 1)
    budget.spend(len(content))
    if content.startswith((b"PK\x03\x04", b"\x1f\x8b")):
        message = f"the ZIP entry {entry.filename!r} is itself compressed; send the text files"
        raise ApiError(415, "unsupported_type", message)
    return content
