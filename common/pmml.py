"""PMML: the form in which models travel, and the only code that reads or writes its XML.

A reader here trusts nothing: it refuses document type declarations (and with them every
entity), never opens a network connection or a file, and bounds size and depth.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import TypeVar

from lxml import etree

VERSION = "4.4"
NAMESPACE = "http://www.dmg.org/PMML-4_4"
#: Versions that are read; documents of all of them have the same elements where we look.
READABLE = ("4.2", "4.3", "4.4")
#: Versions that other tools' documents may have.
FOREIGN = ("3.0", "3.1", "3.2", "4.0", "4.1", *READABLE)
MAX_BYTES = 512 * 1024 * 1024
#: Above what any tool writes: decision trees nest deepest.
MAX_DEPTH = 256
APPLICATION = "Gemsbok"

_TOO_DEEP = f"PMML nests deeper than {MAX_DEPTH} elements"
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
#: What an array's item cannot hold bare, and what XML cannot hold at all.
_ILLEGAL = r"\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff"
_SPECIAL = re.compile(rf'[ \t\r\n"\\{_ILLEGAL}]')
_ESCAPED = re.compile(rf'["\\{_ILLEGAL}]')
_ITEM = re.compile(
    r'[ \t\r\n]*(?:"([^"\\]*(?:\\.[^"\\]*)*)"|([^ \t\r\n"][^ \t\r\n]*))(?=[ \t\r\n]|\Z)', re.DOTALL
)
_ESCAPE = re.compile(r'\\(["\\]|u[0-9a-f]{4})')

_Value = TypeVar("_Value")


class PmmlError(ValueError):
    """A document that cannot be read as PMML; the text says which part and why."""


@dataclass(frozen=True, kw_only=True)
class AlsModel:
    """What a PMML document says of an ALS model.

    Attributes
    ----------
    features : int
        Length k of each factor vector.
    implicit : bool
        Whether strengths are confidences (implicit feedback) and not ratings.
    lambda_ : float
        Regularization.
    user_ids, item_ids : sequence of str
        The ids that have a vector, in the order of the factor files.
    alpha : float
        Confidence of one unit of strength; means something where `implicit`.
    log_strength : bool
        Whether strengths r were replaced by ln(1 + r/epsilon).
    epsilon : float
        Means something where `log_strength`.
    user_factors, item_factors : str
        Where the vectors lie, relative to the document.  Oryx has text in folders "X/" and
        "Y/"; ours are safetensors.  (Oryx's own speed and serving layers read the vectors
        from the update topic and pass over these two.)
    timestamp : int or None
        Milliseconds since 1970 at which the model was built.
    application : str
        What built it.
    """

    features: int
    implicit: bool
    lambda_: float
    user_ids: Sequence[str]
    item_ids: Sequence[str]
    alpha: float = 1.0
    log_strength: bool = False
    epsilon: float = 1e-5
    user_factors: str = "user_factors.safetensors"
    item_factors: str = "item_factors.safetensors"
    timestamp: int | None = None
    application: str = APPLICATION


def write_als_pmml(model: AlsModel) -> bytes:
    """Write an ALS model as PMML 4.4: no model element, extensions alone, as Oryx does.

    Their order is Oryx's: X, Y, features, lambda, implicit, alpha (implicit only),
    logStrength, epsilon (with logStrength only), XIDs, YIDs.
    """
    root = new_document(model.application, model.timestamp)
    dictionary = root.find(tag("DataDictionary"), None)
    assert dictionary is not None
    # No model element refers to them, but the schema wants one field at least.
    for name in ("user", "item"):
        etree.SubElement(
            dictionary, tag("DataField"), name=name, optype="categorical", dataType="string"
        )
    dictionary.set("numberOfFields", "2")
    values = {
        "X": model.user_factors,
        "Y": model.item_factors,
        "features": str(model.features),
        "lambda": repr(float(model.lambda_)),
        "implicit": _boolean_text(model.implicit),
        "alpha": repr(float(model.alpha)) if model.implicit else None,
        "logStrength": _boolean_text(model.log_strength),
        "epsilon": repr(float(model.epsilon)) if model.log_strength else None,
    }
    for name, value in values.items():
        if value is not None:
            etree.SubElement(root, tag("Extension"), name=name, value=value)
    for name, ids in (("XIDs", model.user_ids), ("YIDs", model.item_ids)):
        etree.SubElement(root, tag("Extension"), name=name).text = join_pmml_delimited(ids)
    return to_bytes(root)


def read_als_pmml(document: str | bytes, with_ids: bool = True) -> AlsModel:
    """Read an ALS model, ours or Oryx's; its ids are left out on demand.

    Raises
    ------
    PmmlError
        If it is not PMML, or an extension is missing or has no such value.
    """
    root = parse(document)
    extensions = {
        str(element.get("name")): element for element in root.findall("{*}Extension", None)
    }
    implicit = _read(extensions, "implicit", _boolean)
    log_strength = _read(extensions, "logStrength", _boolean, default="false")
    return AlsModel(
        features=_read(extensions, "features", _count),
        implicit=implicit,
        lambda_=_read(extensions, "lambda", _number),
        user_ids=parse_pmml_delimited(_content(extensions, "XIDs")) if with_ids else (),
        item_ids=parse_pmml_delimited(_content(extensions, "YIDs")) if with_ids else (),
        alpha=_read(extensions, "alpha", _number) if implicit else AlsModel.alpha,
        log_strength=log_strength,
        epsilon=_read(extensions, "epsilon", _number) if log_strength else AlsModel.epsilon,
        user_factors=_read(extensions, "X", str, default=AlsModel.user_factors),
        item_factors=_read(extensions, "Y", str, default=AlsModel.item_factors),
        timestamp=read_timestamp(root),
        application=read_application(root),
    )


def new_document(application: str = APPLICATION, timestamp: int | None = None) -> etree._Element:
    """Start a PMML 4.4 document: header and an empty data dictionary.

    Parameters
    ----------
    application : str
        Name for the header.
    timestamp : int, optional
        Milliseconds since 1970 at which the model was built.
    """
    root = etree.Element(tag("PMML"), nsmap={None: NAMESPACE}, version=VERSION)
    header = etree.SubElement(root, tag("Header"))
    etree.SubElement(header, tag("Application"), name=application)
    if timestamp is not None:
        moment = _EPOCH + timedelta(milliseconds=timestamp)
        etree.SubElement(header, tag("Timestamp")).text = moment.isoformat(timespec="milliseconds")
    etree.SubElement(root, tag("DataDictionary"), numberOfFields="0")
    return root


def tag(name: str, version: str = VERSION) -> str:
    """Return the name of an element in PMML's namespace, as lxml writes it."""
    return f"{{http://www.dmg.org/PMML-{version.replace('.', '_')}}}{name}"


def to_bytes(root: etree._Element) -> bytes:
    """Serialise a document, UTF-8, without white space that means nothing."""
    return etree.tostring(root, encoding="UTF-8", xml_declaration=True)


def indented(document: bytes) -> bytes:
    """Return a document of our own with its elements on lines of their own."""
    root = _parse_xml(document, remove_blank_text=True)
    return etree.tostring(root, pretty_print=True, xml_declaration=True, encoding="UTF-8")


def parse(
    document: str | bytes, max_bytes: int = MAX_BYTES, versions: Collection[str] = READABLE
) -> etree._Element:
    """Parse untrusted XML and return the PMML element.

    Parameters
    ----------
    document : str or bytes
        The document, in UTF-8.
    max_bytes : int
        Size above which it is refused.
    versions : collection of str
        Those of PMML that are read.

    Raises
    ------
    PmmlError
        If it is too large or too deep, has a document type declaration, is not well-formed
        UTF-8 XML, or is not PMML of one of these versions.
    """
    data = _bounded(document, max_bytes)
    # Before parsing: libxml2 expands entities inside attributes whatever its options say.
    if b"<!DOCTYPE" in data:
        message = "PMML with a document type declaration is not read; remove <!DOCTYPE …>"
        raise PmmlError(message)
    root = _parse_xml(data)
    if root.xpath(f"boolean({'/*' * (MAX_DEPTH + 1)})"):
        raise PmmlError(_TOO_DEEP)
    if root.tag not in [tag("PMML", version) for version in versions]:
        message = f"root element {root.tag!r} is not PMML of version {', '.join(versions)}"
        raise PmmlError(message)
    return root


def _bounded(document: str | bytes, max_bytes: int) -> bytes:
    # A text has at least as many bytes as characters: what is far too large is not encoded.
    if len(document) <= max_bytes:
        data = document.encode() if isinstance(document, str) else document
        if len(data) <= max_bytes:
            return data
    message = f"PMML of more than {max_bytes} bytes is not read"
    raise PmmlError(message)


def read_timestamp(root: etree._Element) -> int | None:
    """Milliseconds since 1970 in the header; None where there is none that can be read."""
    text = root.findtext("{*}Header/{*}Timestamp", "", None).strip()
    # Java writes the offset as +0000 or Z, which Python 3.10 does not know.
    text = re.sub(r"([+-]\d\d)(\d\d)$", r"\1:\2", text.replace("Z", "+00:00"))
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone.utc)
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def read_application(root: etree._Element) -> str:
    """Name of the application in the header; empty where there is none."""
    element = root.find("{*}Header/{*}Application", None)
    return "" if element is None else str(element.get("name", ""))


def join_pmml_delimited(items: Iterable[str]) -> str:
    r"""Join strings by spaces, quoted where they need it, quotes escaped by a backslash.

    A backslash is escaped by another, and a character that XML cannot hold is written as ``\u``
    and four hexadecimal digits, so that :func:`parse_pmml_delimited` gives back any strings
    exactly.
    """
    special = _SPECIAL.search
    return " ".join([_quoted(item) if not item or special(item) else item for item in items])


def parse_pmml_delimited(text: str) -> list[str]:
    """Split what :func:`join_pmml_delimited`, Oryx, or a PMML array's writer joined.

    A backslash before any character that needs no escape stands for itself.

    Raises
    ------
    PmmlError
        If a quotation does not end.
    """
    if '"' not in text and "\\" not in text:
        return re.findall(r"[^ \t\r\n]+", text)
    items: list[str] = []
    at = 0
    for match in _ITEM.finditer(text):
        if match.start() != at:
            break
        at = match.end()
        items.append(_unescaped(match[2] if match[1] is None else match[1]))
    if text[at:].strip(" \t\r\n"):
        message = f"bad quotation at character {at} of a PMML list: {text[at : at + 40]!r}"
        raise PmmlError(message)
    return items


def _parse_xml(data: bytes, remove_blank_text: bool = False) -> etree._Element:
    # huge_tree lifts the limit of 10 MB for the text of one element, which ids outgrow; the
    # limits of our own take its place.  The encoding is fixed, so that the search for a
    # document type declaration and the parser see the same characters.
    parser = etree.XMLParser(
        encoding="utf-8",
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        dtd_validation=False,
        huge_tree=True,
        remove_comments=True,
        remove_pis=True,
        remove_blank_text=remove_blank_text,
    )
    try:
        return etree.fromstring(data, parser)
    except (etree.XMLSyntaxError, ValueError) as error:
        # libxml2 has a limit of its own, so that a hostile document costs next to nothing.
        if "Excessive depth" in str(error):
            raise PmmlError(_TOO_DEEP) from error
        message = f"PMML is not well-formed XML in UTF-8: {error}"
        raise PmmlError(message) from error


def _quoted(item: str) -> str:
    return f'"{_ESCAPED.sub(_escape, item)}"'


def _escape(match: re.Match[str]) -> str:
    character = match[0]
    return f"\\{character}" if character in '"\\' else f"\\u{ord(character):04x}"


def _unescaped(item: str) -> str:
    return _ESCAPE.sub(_original, item) if "\\" in item else item


def _original(match: re.Match[str]) -> str:
    escaped = match[1]
    return escaped if len(escaped) == 1 else chr(int(escaped[1:], 16))


def _read(
    extensions: dict[str, etree._Element],
    name: str,
    convert: Callable[[str], _Value],
    default: str | None = None,
) -> _Value:
    found = extensions.get(name)
    text = default if found is None else found.get("value", default)
    if text is None:
        message = f"PMML lacks the extension {name!r} with a value"
        raise PmmlError(message)
    try:
        return convert(text)
    except ValueError as error:
        message = f"PMML extension {name!r} has a bad value {text[:100]!r}: {error}"
        raise PmmlError(message) from error


def _content(extensions: dict[str, etree._Element], name: str) -> str:
    if name not in extensions:
        message = f"PMML lacks the extension {name!r}"
        raise PmmlError(message)
    return extensions[name].text or ""


def _boolean(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        message = "neither true nor false"
        raise ValueError(message)
    return text.lower() == "true"


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        message = "not a positive number"
        raise ValueError(message)
    return number


def _number(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        message = "not a finite number"
        raise ValueError(message)
    return number


def _boolean_text(value: bool) -> str:
    return "true" if value else "false"
