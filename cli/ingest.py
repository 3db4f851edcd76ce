"""Verb ``ingest``: a file's lines to the serving layer, which checks and sends them on."""

from __future__ import annotations

import gzip
import json
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from cli.lines import Chunk, count, read_chunks
from cli.options import Conf, Sets
from cli.output import print_json
from stack.configuration import settings_of
from stack.errors import EXIT_FAILED, EXIT_UNAVAILABLE, UserError
from stack.serving_http import open_serving, serving_url

TIMEOUT_SECONDS = 120.0
#: Fast rather than small.
COMPRESS_LEVEL = 1

File = Annotated[str, typer.Argument(metavar="FILE|-", help="Lines; - for standard input.")]
Url = Annotated[str, typer.Option(help="Address of the serving layer, if not the configured one.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def ingest(
    file: File, url: Url = "", conf: Conf = None, sets: Sets = None, as_json: Json = False
) -> None:
    """Send a file's lines (.gz: compressed) to the serving layer, some thousands at once."""
    address = f"{(url or serving_url(settings_of(conf, sets))).rstrip('/')}/ingest"
    if not address.startswith(("http://", "https://")):
        message = f"--url {url}: is not an address, as http://127.0.0.1:8080"
        raise UserError(message)
    started = time.monotonic()
    done = 0
    with _progress() as show:
        for chunk in read_chunks(file):
            lines = count(chunk.lines)
            if lines:
                _post(address, file, chunk)
                done += lines
                show(done)
    _report(done, time.monotonic() - started, as_json)


def _post(address: str, file: str, chunk: Chunk) -> None:
    body = gzip.compress("\n".join(chunk.lines).encode(), COMPRESS_LEVEL)
    headers = {"Content-Type": "text/csv", "Content-Encoding": "gzip", "Accept": "application/json"}
    request = urllib.request.Request(address, body, headers, method="POST")
    try:
        open_serving(request, TIMEOUT_SECONDS).close()
    except urllib.error.HTTPError as error:
        with error:
            raise _refused(error.code, error.read(), file, chunk) from None
    except OSError as error:
        reason = getattr(error, "reason", error)
        message = f"{address} does not answer: {reason}. {_sent_before(file, chunk)}"
        remedy = "Start the serving layer (`bin/gemsbok serving`), or name another by --url."
        raise UserError(message, remedy, EXIT_UNAVAILABLE) from None


def _refused(status: int, body: bytes, file: str, chunk: Chunk) -> UserError:
    """Return the error for a chunk that the serving layer did not take, by the file's lines."""
    try:
        found = json.loads(body)["error"]
        code, told, line = found["code"], found["message"], found.get("line")
    except (ValueError, KeyError, TypeError):
        code, told, line = "", body.decode(errors="replace").strip()[:500], None
    where = f"lines {chunk.first} to {chunk.last}"
    if line is not None:
        where = f"line {chunk.first + line - 1}"
    message = f"{file}, {where}: {told} (HTTP {status}). {_sent_before(file, chunk)}"
    if code == "outcome_unknown":
        remedy = f"Of lines {chunk.first} to {chunk.last} some may have been written."
    else:
        remedy = f"Go on from there: `tail -n +{chunk.first} {file} | bin/gemsbok ingest -`."
    return UserError(message, remedy, EXIT_UNAVAILABLE if status >= 500 else EXIT_FAILED)


def _sent_before(file: str, chunk: Chunk) -> str:
    if chunk.first == 1:
        return "No line before it was sent."
    return f"Lines 1 to {chunk.first - 1} of {file} were ingested."


def _report(done: int, seconds: float, as_json: bool) -> None:
    if as_json:
        print_json({"lines": done, "seconds": round(seconds, 3)})
    else:
        print(f"{done} lines ingested in {seconds:.1f} s.")


@contextmanager
def _progress() -> Iterator[Callable[[int], None]]:
    """Yield a function that shows how many lines are done, where there is a terminal."""
    if not sys.stderr.isatty():
        yield lambda _done: None
        return
    from rich.console import Console

    with Console(stderr=True).status("Connecting") as status:
        yield lambda done: status.update(f"{done:,} lines ingested")
