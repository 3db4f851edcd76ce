"""Lines of a file, or of standard input, for the verbs that send events."""

from __future__ import annotations

import gzip
import sys
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from stack.errors import UserError

CHUNK_LINES = 10_000
CHUNK_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True)
class Chunk:
    """Successive lines of a file.

    Attributes
    ----------
    first : int
        Number of the first one in the file, from 1.
    lines : sequence of str
        The lines, blank ones too, without their ends.
    """

    first: int
    lines: Sequence[str]

    @property
    def last(self) -> int:
        """Number of the last one in the file."""
        return self.first + len(self.lines) - 1


def read_chunks(file: str) -> Iterator[Chunk]:
    """Yield the lines of a file (``.gz``: compressed), or of standard input for ``-``.

    Raises
    ------
    UserError
        If it cannot be read, or a line is not UTF-8; what lies before it was yielded.
    """
    with _opened(file) as stream:
        first = 1
        lines: list[str] = []
        size = 0
        for number, raw in enumerate(stream, 1):
            try:
                lines.append(_decoded(raw, number))
            except UnicodeDecodeError as error:
                if lines:
                    yield Chunk(first, lines)
                raise _not_utf8(file, number, error) from None
            size += len(raw)
            if len(lines) == CHUNK_LINES or size > CHUNK_BYTES:
                yield Chunk(first, lines)
                first, lines, size = number + 1, [], 0
        if lines:
            yield Chunk(first, lines)


def count(lines: Iterable[str]) -> int:
    """Return how many of the lines are events: those that are not blank."""
    return sum(1 for line in lines if line.strip())


@contextmanager
def _opened(file: str) -> Iterator[BinaryIO]:
    if file == "-":
        yield sys.stdin.buffer
        return
    try:
        with Path(file).open("rb") as stream:
            yield (
                cast("BinaryIO", gzip.GzipFile(fileobj=stream)) if file.endswith(".gz") else stream
            )
    except (OSError, EOFError, zlib.error) as error:
        message = f"{file} cannot be read: {getattr(error, 'strerror', None) or error}."
        raise UserError(message) from None


def _decoded(raw: bytes, number: int) -> str:
    # A byte order mark is no part of the first line.
    return raw.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")


def _not_utf8(file: str, number: int, error: UnicodeDecodeError) -> UserError:
    message = (
        f"{file}, line {number}: not UTF-8 ({error.reason} at byte {error.start}). "
        f"The lines before it were sent."
    )
    return UserError(message, "Convert the rest of the file, for example by iconv.")
