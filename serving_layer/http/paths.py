"""Paths taken apart before they are decoded, so that an id may hold any character.

WSGI hands an application the path already percent-decoded: ``a%2Fb`` has become two segments,
``%ff`` a replacement character, and two different ids one.  So the path is read as the client
sent it (``REQUEST_URI``), split at ``/``, each segment decoded strictly, and put back together
in a canonical form that the router takes apart again without loss: text in which just three
characters are written as escapes,

==========  ============================================
``%2F``     a slash within a segment
``%3D``     an equals sign that the client had encoded
``%25``     a percent sign
==========  ============================================

The converters :class:`Segment`, :class:`Segments` and :class:`Items` undo them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote, unquote_to_bytes

from werkzeug.routing import BaseConverter, Map, UnicodeConverter

from serving_layer.http.errors import ApiError

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

#: Ids in one path; longer lists go into a body.
MAX_IDS = 10_000
#: Where the environ of a request has the error of a path that cannot be read.
BAD_PATH = "gemsbok.bad_path"

_PLAIN = re.compile(r"(?:/[!-$&-.0-~]+)*/?")
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_ENCODED_EQUALS = re.compile(r"%3[Dd]")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class Segment(UnicodeConverter):
    """``<name>``: one segment, decoded."""

    def to_python(self, value: str) -> str:
        """Return the segment's text."""
        return unquote(value)

    def to_url(self, value: str) -> str:
        """Return the text percent-encoded, slashes too."""
        return quote(value, safe="")


class Segments(BaseConverter):
    """``<segments:name>``: one or more segments, each decoded."""

    regex = "[^/]+(?:/[^/]+)*"
    weight = 200

    def to_python(self, value: str) -> list[str]:
        """Return the segments' texts; 400 ``too_many_ids`` beyond :data:`MAX_IDS`."""
        return [unquote(segment) for segment in _split(value)]

    def to_url(self, value: Iterable[str]) -> str:
        """Return the texts percent-encoded and joined by slashes."""
        return "/".join(quote(segment, safe="") for segment in value)


class Items(BaseConverter):
    """``<items:name>``: one or more segments ``id`` or ``id=value``."""

    regex = Segments.regex
    weight = Segments.weight

    def to_python(self, value: str) -> list[tuple[str, float]]:
        """Return (id, value) pairs; the value is 1.0 where there is none (Oryx's rule)."""
        return [_item(segment) for segment in _split(value)]


def _split(value: str) -> list[str]:
    segments = value.split("/")
    if len(segments) > MAX_IDS:
        message = f"the path has {len(segments)} ids, {MAX_IDS} are allowed"
        raise ApiError(400, "too_many_ids", message)
    return segments


def _item(segment: str) -> tuple[str, float]:
    name, equals, text = segment.rpartition("=")
    if not equals:
        return unquote(segment), 1.0
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not name or not math.isfinite(value):
        message = (
            f"{unquote(segment)!r} is not id=value with a finite number; "
            "an '=' that belongs to the id is sent as %3D"
        )
        raise ApiError(400, "bad_parameter", message)
    return unquote(name), value


def use_segments(url_map: Map) -> None:
    """Make a router read canonical paths; before any rule is added to it."""
    url_map.merge_slashes = False
    url_map.converters = {
        **url_map.converters,
        "default": Segment,
        "string": Segment,
        "segments": Segments,
        "items": Items,
    }


def read_path(environ: WSGIEnvironment, context_path: str) -> None:
    """Put the canonical path under `context_path` in the environ's ``PATH_INFO``.

    The error of a path that cannot be read is left at :data:`BAD_PATH`, for the application to
    answer with.
    """
    prefix = context_path.rstrip("/")
    try:
        path = canonical(sent_path(environ))
        environ["PATH_INFO"] = _below(prefix, path).encode().decode("latin-1")
        environ["SCRIPT_NAME"] = prefix
    except ApiError as error:
        environ["PATH_INFO"] = "/"
        environ[BAD_PATH] = error


def _below(prefix: str, path: str) -> str:
    rest = path.removeprefix(prefix)
    if not path.startswith(prefix) or rest[:1] not in ("", "/"):
        raise not_found()
    return rest or "/"


def sent_path(environ: dict[str, Any]) -> str:
    """Return the path as the client sent it, its bytes as Latin-1."""
    target: str = environ.get("REQUEST_URI") or environ.get("RAW_URI") or ""
    if target:
        return target.partition("?")[0]
    return quote(environ["PATH_INFO"], safe="/=", encoding="latin-1")


def canonical(sent: str) -> str:
    """Return the canonical form of a path as it was sent.

    Parameters
    ----------
    sent : str
        The request target without its query; bytes above 127 as Latin-1.

    Raises
    ------
    ApiError
        400 ``bad_encoding`` for a broken escape or what is not UTF-8, 400 ``bad_id`` for a
        control character, 404 for an empty segment.
    """
    if _PLAIN.fullmatch(sent):
        return sent
    if not sent.startswith("/") or "//" in sent:
        raise not_found()
    if _BAD_ESCAPE.search(sent):
        message = "a % in the path is not followed by two hexadecimal digits"
        raise ApiError(400, "bad_encoding", message)
    return "/".join(_canonical_segment(segment) for segment in sent.split("/"))


def _canonical_segment(sent: str) -> str:
    parts = _ENCODED_EQUALS.split(sent)
    return "%3D".join(_decode(part).replace("%", "%25").replace("/", "%2F") for part in parts)


def _decode(sent: str) -> str:
    try:
        text = unquote_to_bytes(sent.encode("latin-1")).decode()
    except UnicodeDecodeError as error:
        message = f"the path is not UTF-8: {error.reason}"
        raise ApiError(400, "bad_encoding", message) from None
    if _CONTROL.search(text):
        message = "the path holds a control character"
        raise ApiError(400, "bad_id", message)
    return text


def not_found() -> ApiError:
    """Return the error for a path under which there is nothing."""
    return ApiError(404, "not_found", "there is nothing at this path")
