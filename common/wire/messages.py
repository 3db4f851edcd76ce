"""Encoding and decoding of the update topic's records; no other module knows their form.

Record *values* are those of Oryx 2, so that its producers and consumers can share the topic;
what Oryx lacks is in record headers (see :class:`Stamp`).  A record without our headers
has no stamp and is read as Oryx reads it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import orjson

from common.base.errors import CodedError

MODEL = "MODEL"
MODEL_REF = "MODEL-REF"
UP = "UP"
PROGRESS = "PROGRESS"
WRITER = "WRITER"
KEYS = frozenset({MODEL, MODEL_REF, UP, PROGRESS, WRITER})

#: Version of the header format.  A reader accepts this version and the one before it.
WIRE_VERSION = 1
_VERSION = ("gemsbok-version", b"%d" % WIRE_VERSION)

#: A header's value may be null, as Kafka allows.
Headers = Sequence[tuple[str, bytes | None]]


class MessageError(CodedError, ValueError):
    """A record cannot be read; the text names the part and the reason."""

    CODE = "parse"


@dataclass(frozen=True, slots=True)
class Stamp:
    """A message's record headers: generation, position in it, checksums, newest input event.

    Attributes
    ----------
    generation : int
        Id of the model generation that the message belongs to.
    sequence : int
        Position within the generation's messages: 0 is the model itself.  A message is
        applied once per (generation, sequence).
    sha256 : str or None
        SHA-256 (hex) of a MODEL's value, or of the file that a MODEL-REF names.
    manifest : str or None
        SHA-256 (hex) of the generation's ``manifest.json``; on MODEL and MODEL-REF only.
    input : str or None
        ``partition:offset`` of the newest input event folded into the message.
    event_time : int or None
        Kafka timestamp (ms) of that event.
    updates : int or None
        On MODEL and MODEL-REF: the last sequence that the batch layer sends for this
        generation; the speed layer continues after it.
    epoch : int or None
        On the speed layer's UP and PROGRESS: the offset of its claim (see :class:`Claim`).
    """

    generation: int
    sequence: int
    sha256: str | None = None
    manifest: str | None = None
    input: str | None = None
    event_time: int | None = None
    updates: int | None = None
    epoch: int | None = None

    def to_headers(self) -> list[tuple[str, bytes]]:
        """Return the record headers that carry this stamp."""
        headers = [
            _VERSION,
            ("generation", b"%d" % self.generation),
            ("sequence", b"%d" % self.sequence),
        ]
        for name, value in (
            ("sha256", self.sha256),
            ("manifest", self.manifest),
            ("input", self.input),
            ("event-time", self.event_time),
            ("updates", self.updates),
            ("epoch", self.epoch),
        ):
            if value is not None:
                headers.append((name, str(value).encode()))
        return headers

    @classmethod
    def from_headers(cls, headers: Headers) -> Stamp | None:
        """Read a stamp; None for a record without our headers.

        Raises
        ------
        MessageError
            If the version is unknown, a header has no value, or a numeric header is not a number.
        """
        values = dict(headers)
        if _VERSION[0] not in values:
            return None
        version = _integer(values, "gemsbok-version")
        if version not in (WIRE_VERSION, WIRE_VERSION - 1):
            text = f"unknown gemsbok-version {version}; this reads {WIRE_VERSION}"
            raise MessageError(text, "schema")
        return cls(
            generation=_integer(values, "generation"),
            sequence=_integer(values, "sequence"),
            sha256=_text(values, "sha256"),
            manifest=_text(values, "manifest"),
            input=_text(values, "input"),
            event_time=_integer(values, "event-time") if "event-time" in values else None,
            updates=_integer(values, "updates") if "updates" in values else None,
            epoch=_integer(values, "epoch") if "epoch" in values else None,
        )


@dataclass(frozen=True, slots=True)
class Message:
    """One message of the update topic.

    Attributes
    ----------
    key : str
        ``MODEL``, ``MODEL-REF``, ``UP``, ``PROGRESS`` or ``WRITER``; readers count and skip
        others.
    value : str
        The payload, in Oryx's form.
    stamp : Stamp or None
        The headers, decoded; None for a record that is not from Gemsbok.
    """

    key: str
    value: str
    stamp: Stamp | None = None

    @classmethod
    def from_record(cls, key: bytes | None, value: bytes | None, headers: Headers) -> Message:
        """Decode a broker record.

        A record with a key and a stamp of a later version of Gemsbok is not read further: its
        value is empty and its stamp :data:`UNREAD`.

        Raises
        ------
        MessageError
            If key or value is missing, is not UTF-8, or the headers cannot be read.
        """
        if key is not None and _is_stamped(headers):
            name = key.decode(errors="replace")
            if name not in KEYS:
                return cls(name, "", UNREAD)
        if key is None or value is None:
            missing, code = ("key", "unknown_key") if key is None else ("value", "null_value")
            text = f"record without a {missing}"
            raise MessageError(text, code)
        try:
            return cls(key.decode(), value.decode(), Stamp.from_headers(headers))
        except UnicodeDecodeError as error:
            text = f"record is not UTF-8: {error}"
            raise MessageError(text) from error


@dataclass(frozen=True, slots=True)
class Progress:
    """The input offsets that the speed layer has folded in; one closes each micro-batch.

    A reader applies the ``UP`` messages of a micro-batch when it reads this record, so that a
    micro-batch is applied completely or, if its sender died before closing it, not at all.

    Attributes
    ----------
    offsets : mapping of int to int
        For each input partition the next offset to fold in (one past the newest folded in).
    event_time : int or None
        Newest Kafka timestamp (ms) among the events folded in so far.
    since : int
        The first sequence that the state needs: the bare generation and all messages from
        `since` on are the complete state.  1, or more if everything was folded in anew.
    topic_id : str or None
        The broker's identity of the input topic that `offsets` refer to; None in records of
        older writers, which mean the topic that the generation was trained on.
    """

    offsets: Mapping[int, int] = field(default_factory=dict)
    event_time: int | None = None
    since: int = 1
    topic_id: str | None = None

    def to_value(self) -> str:
        """Return the JSON value of a PROGRESS record."""
        offsets = {str(partition): offset for partition, offset in sorted(self.offsets.items())}
        fields = {
            "offsets": offsets,
            "event_time": self.event_time,
            "since": self.since,
            "topic": self.topic_id,
        }
        return orjson.dumps(fields).decode()

    @classmethod
    def from_value(cls, value: str) -> Progress:
        """Read a PROGRESS record's value; fields of later versions are passed over.

        Raises
        ------
        MessageError
            If `value` is not a JSON object of the form that :meth:`to_value` writes.
        """
        try:
            fields = orjson.loads(value)
            offsets = {int(p): int(offset) for p, offset in fields["offsets"].items()}
            since, topic = int(fields.get("since", 1)), fields.get("topic")
        except (ArithmeticError, AttributeError, KeyError, TypeError, ValueError) as error:
            text = f"bad PROGRESS value {value[:200]!r}: {error}"
            raise MessageError(text) from error
        return cls(offsets, fields.get("event_time"), since, None if topic is None else str(topic))


@dataclass(frozen=True, slots=True)
class Claim:
    """A speed layer's claim to be the one that writes; it sends one when it starts.

    The offset of a claim is its writer's epoch.  The claim with the highest offset holds:
    messages with the epoch of an earlier one, or with none, are dropped from there on.

    Attributes
    ----------
    writer : str
        Who claims, as ``host:process:random``.
    app : str
        The family; a claim says nothing to the readers of another.
    """

    writer: str
    app: str

    def to_value(self) -> str:
        """Return the JSON value of a WRITER record."""
        return orjson.dumps({"writer": self.writer, "app": self.app}).decode()

    @classmethod
    def from_value(cls, value: str) -> Claim:
        """Read a WRITER record's value.

        Raises
        ------
        MessageError
            If it is not the JSON object that :meth:`to_value` writes.
        """
        try:
            fields = orjson.loads(value)
            writer, app = fields["writer"], fields["app"]
        except (ValueError, KeyError, TypeError) as error:
            text = f"bad WRITER value {value[:200]!r}: {error}"
            raise MessageError(text) from error
        if not (isinstance(writer, str) and isinstance(app, str)):
            text = f"bad WRITER value {value[:200]!r}: writer and app are text"
            raise MessageError(text)
        return cls(writer, app)


#: The stamp of what belongs to no generation: claims.
UNBOUND = Stamp(generation=0, sequence=0)
#: The stamp of a record of a later version, which is not read.
UNREAD = Stamp(generation=-1, sequence=-1)


def _is_stamped(headers: Headers) -> bool:
    return any(name == _VERSION[0] for name, _ in headers)


def _integer(headers: Mapping[str, bytes | None], name: str) -> int:
    value = _bytes(headers, name)
    try:
        return int(value)
    except ValueError:
        text = f"header {name!r} is not a number: {value[:100]!r}"
        raise MessageError(text) from None


def _text(headers: Mapping[str, bytes | None], name: str) -> str | None:
    return _bytes(headers, name).decode() if name in headers else None


def _bytes(headers: Mapping[str, bytes | None], name: str) -> bytes:
    """Return a header's value; raises MessageError where the header or its value is missing."""
    value = headers.get(name)
    if value is None:
        text = f"header {name!r} {'has no value' if name in headers else 'is missing'}"
        raise MessageError(text)
    return value
