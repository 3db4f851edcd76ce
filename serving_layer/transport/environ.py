"""The WSGI environ of a request: of its head, and then of its body."""

from __future__ import annotations

import io
import sys
from collections.abc import MutableMapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

#: Names of headers of which the key is remembered.
NAMES = 256


def environ_of(scope: MutableMapping[str, Any]) -> WSGIEnvironment:
    """Build the WSGI environ of a request without a body from its ASGI scope.

    ``REQUEST_URI`` is the path as it was sent: :func:`serving_layer.http.paths.read_path` makes
    ``PATH_INFO`` from it.
    """
    environ: WSGIEnvironment = {
        "REQUEST_METHOD": scope["method"],
        "SCRIPT_NAME": "",
        "PATH_INFO": "/",
        "REQUEST_URI": scope["raw_path"].decode("latin-1"),
        "QUERY_STRING": scope["query_string"].decode("latin-1"),
        "SERVER_NAME": scope["server"][0],
        "SERVER_PORT": scope["server"][1],
        "SERVER_PROTOCOL": f"HTTP/{scope['http_version']}",
        "REMOTE_ADDR": scope["client"][0],
        "REMOTE_PORT": scope["client"][1],
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope["scheme"],
        "wsgi.input": io.BytesIO(),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
        "wsgi.input_terminated": True,
        "CONTENT_LENGTH": "0",
    }
    for name, value in scope["headers"]:
        key = _key(name)
        if key is not None:
            text = value.decode("latin-1")
            environ[key] = f"{environ[key]},{text}" if key in environ else text
    return environ


def put_body(environ: WSGIEnvironment, body: bytes) -> None:
    """Give a request the body that has been read whole."""
    environ["wsgi.input"] = io.BytesIO(body)
    environ["CONTENT_LENGTH"] = str(len(body))


@lru_cache(maxsize=NAMES)
def _key(name: bytes) -> str | None:
    """Return a header's key in the environ; None for one that does not belong there."""
    if name == b"content-length" or b"_" in name:
        # With an underscore it would pass for the header that has a dash in its place.
        return None
    if name == b"content-type":
        return "CONTENT_TYPE"
    return "HTTP_" + name.decode("latin-1").upper().replace("-", "_")
