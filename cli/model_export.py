"""A model as PMML: fetched from a serving layer, written to a file or standard output."""

from __future__ import annotations

import gzip
import json
import sys
import urllib.error
import urllib.request
from pathlib import Path

from stack.errors import EXIT_UNAVAILABLE, UserError
from stack.serving_http import open_serving

TIMEOUT_SECONDS = 120.0
GZIP = "gzip"


def served(url: str) -> tuple[bytes, str]:
    """Fetch the model as it is served at `url`, all updates in it.

    Returns
    -------
    (bytes, str)
        The document, and what it is in words.

    Raises
    ------
    UserError
        If nothing answers there, or there is no model yet.
    """
    address = f"{url.rstrip('/')}/model.pmml"
    if not address.startswith(("http://", "https://")):
        message = f"--url {url}: is not an address, as http://127.0.0.1:8080"
        raise UserError(message)
    request = urllib.request.Request(address, headers={"Accept-Encoding": GZIP})
    try:
        with open_serving(request, TIMEOUT_SECONDS) as reply:
            data = reply.read()
            is_gzip = reply.headers.get("Content-Encoding") == GZIP
            generation = reply.headers.get("X-Model-Generation")
    except urllib.error.HTTPError as error:
        with error:
            message = f"{address} answers {error.code}: {_reason(error)}"
        raise UserError(message, exit_code=EXIT_UNAVAILABLE) from None
    except OSError as error:
        reason = getattr(error, "reason", error)
        message = f"{address} does not answer: {reason}."
        remedy = "Start the serving layer (`bin/gemsbok serving`), or name another by --url."
        raise UserError(message, remedy, EXIT_UNAVAILABLE) from None
    what = f"generation {generation}" if generation else "a model that is not ours,"
    return gzip.decompress(data) if is_gzip else data, f"{what} as it is served"


def write(document: bytes, output: Path | None, what: str) -> None:
    """Write a document and say so; without a file to standard output, and say nothing.

    A file appears whole or not at all.

    Raises
    ------
    UserError
        If the file cannot be written.
    """
    if output is None:
        sys.stdout.buffer.write(document)
        return
    aside = output.with_name(f"{output.name}.part")
    try:
        aside.write_bytes(document)
        aside.replace(output)
    except OSError as error:
        message = f"{output} cannot be written: {error.strerror}."
        raise UserError(message) from None
    print(f"Written: {output} ({len(document)} bytes, {what})")


def compressed(document: bytes) -> bytes:
    """Compress a document; the same one gives the same bytes."""
    return gzip.compress(document, mtime=0)


def _reason(error: urllib.error.HTTPError) -> str:
    """Return the sentence in an error's JSON body, or the body where it is none."""
    body = error.read()
    if error.headers.get("Content-Encoding") == GZIP:
        body = gzip.decompress(body)
    text = body.decode(errors="replace").strip()
    try:
        return str(json.loads(text)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return text
